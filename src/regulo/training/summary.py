"""What a person reads in the terminal before training."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from regulo.optim.base import OptimizerConfig
    from regulo.training.autotune import AutotuneResult
from regulo.core.console import CONSOLE, STYLE


def print_plan(rows: Sequence[Mapping[str, str]], choice: "AutotuneResult") -> None:
    """The resolved plan, and how the model will run."""
    table = Table("", "technique", "hook", "strength", "source", **STYLE)
    for row in rows:
        table.add_row(*(row[key] for key in ("order", "technique", "hook", "strength", "source")))
    if rows:
        CONSOLE.print("regularization", style="bold")
        CONSOLE.print(table)
    else:
        CONSOLE.print("regularization: none but what the architecture brings")
    CONSOLE.print(f"running in {choice.precision}, {choice.memory_format}" + (", measured:" if choice.evidence else ""))
    for trial in choice.evidence:
        mark = "→" if (trial.precision, trial.memory_format) == (choice.precision, choice.memory_format) else " "
        ratio = (choice.evidence[0].seconds or 0) / (trial.seconds or 1)
        CONSOLE.print(
            f" {mark} {trial.precision:10} {trial.memory_format:13} {1000 * (trial.seconds or 0):8.1f} ms a step, {ratio:4.2f}×"
        )


def print_learning_rate(optim: "OptimizerConfig", batch_size: int, processes: int, batch: int) -> None:
    """Images per step over all processes, and the learning rate that goes with them."""
    batch_text = f"{processes} × {batch_size} = {batch}" if processes > 1 and batch == processes * batch_size else f"{batch}"
    if optim.lr_base_batch:
        lr = optim.for_batch_size(batch).lr
        how = f"{lr:.4g}: {optim.lr:g} for {optim.lr_base_batch} images, scaled linearly"
    else:
        how = f"{optim.lr:g} as written (not scaled)"
    CONSOLE.print(f"global batch {batch_text}; lr {how}")
