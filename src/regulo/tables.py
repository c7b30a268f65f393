"""What a person reads in the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from regulo.claims.base import Finding
    from regulo.optim.base import Optimizer
    from regulo.speed import Choice

CONSOLE = Console(highlight=False, markup=False)
if not CONSOLE.is_terminal:
    CONSOLE = Console(highlight=False, markup=False, width=120)  # a log file has no width of its own

STYLE: dict[str, Any] = {"box": box.SIMPLE_HEAD, "pad_edge": False}


def plan(rows: Sequence[Mapping[str, str]], choice: "Choice") -> None:
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


def rate(optim: "Optimizer", batch_size: int, processes: int, batch: int) -> None:
    """Images per step over all processes, and the learning rate that goes with them."""
    shown = f"{processes} × {batch_size} = {batch}" if processes > 1 and batch == processes * batch_size else f"{batch}"
    if optim.lr_for_batch:
        used = optim.for_batch(batch).lr
        how = f"{used:.4g}: {optim.lr:g} for {optim.lr_for_batch} images, scaled linearly"
    else:
        how = f"{optim.lr:g} as written (not scaled)"
    CONSOLE.print(f"global batch {shown}; lr {how}")


def scores(result: Mapping[str, Any], title: str) -> None:
    """Accuracy, NLL and calibration by split, and the gap."""
    CONSOLE.print(title, style="bold", soft_wrap=True)
    table = Table("", "accuracy", "NLL", "ECE", "Brier", **STYLE)
    for column in table.columns[1:]:
        column.justify = "right"
    names = {"train_clean": "clean train", "val": "validation", "test": "test", "gap": "gap (train, validation)"}
    for split, label in names.items():
        cells = [result.get(f"{split}/{key}") for key in ("acc", "loss", "ece", "brier")]
        if any(c is not None for c in cells):
            table.add_row(label, *("" if c is None else f"{c:.4f}" for c in cells))
    CONSOLE.print(table)


def where(path: Path) -> None:
    """The run folder, and what to do next."""
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    CONSOLE.print(f"run folder: {path}", soft_wrap=True)
    CONSOLE.print(f'again:      make evaluate ARGS="{path}"    curves: make dashboard', soft_wrap=True)


def finding(title: str, found: "Finding", quick: bool) -> None:
    """A claim's numbers and its verdict, which is an indication only if the trial was quick."""
    CONSOLE.print(title, style="bold", soft_wrap=True)
    table = Table("", "n", "mean", "spread", **STYLE)
    for row in found.rows:
        table.add_row(*row.cells())
    CONSOLE.print(table)
    CONSOLE.print(f"{found.verdict}{' (an indication: one seed)' if quick else ''}: {found.number}\n", soft_wrap=True)
