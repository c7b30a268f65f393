"""What a person reads in the terminal before training."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Column, Table

if TYPE_CHECKING:
    from regulo.optim.base import OptimizerConfig
    from regulo.tracking.records import DataRecord
    from regulo.training.autotune import AutotuneResult
from regulo.core.console import CONSOLE, STYLE

MAX_ROWS = 12
"""classes that are listed one by one; of more only the smallest and the largest are shown"""


def print_data(record: "DataRecord") -> None:
    """What is trained and evaluated on: the images of each class and split, and what was left out."""
    sizes = {name: sum(per_class) for name, per_class in record.images.items()}
    CONSOLE.print("data", style="bold")
    names = ", ".join(record.classes[:MAX_ROWS]) + (", …" if len(record.classes) > MAX_ROWS else "")
    CONSOLE.print(f"{record.source}: {len(record.classes)} classes: {names}", soft_wrap=True)
    table = Table("class", *(Column(name, justify="right") for name in sizes), **STYLE)
    if all(len(set(per_class)) == 1 for per_class in record.images.values()):
        table.add_row("each", *(f"{per_class[0]:,}" for per_class in record.images.values()))
    elif len(record.classes) <= MAX_ROWS:
        for k, name in enumerate(record.classes):
            table.add_row(name, *(f"{per_class[k]:,}" for per_class in record.images.values()))
    else:
        by_size = np.argsort(record.images["train"], kind="stable")
        for k, what in ((by_size[0], "smallest"), (by_size[-1], "largest")):
            row = [f"{per_class[k]:,}" for per_class in record.images.values()]
            table.add_row(f"{record.classes[k]} (the {what} in train)", *row)
    table.add_row("all", *(f"{n:,}" for n in sizes.values()))
    CONSOLE.print(table)
    for note in filter(None, (*record.notes, record.placement)):
        CONSOLE.print(note, soft_wrap=True)


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
    measured = f", measured on {choice.measured_on}:" if choice.measured_on else ", measured:"
    how = f"{choice.precision}, {choice.memory_format}" + ", compiled" * (choice.compile == "on")
    CONSOLE.print(f"running in {how}" + (measured if choice.evidence else ""))
    for trial in choice.evidence:
        mark = "→" if trial is (choice.compiled if choice.compile == "on" else choice.eager) else " "
        ratio = choice.evidence[0].seconds / trial.seconds
        line = f" {mark} {trial.precision:10} {trial.memory_format:13} {1000 * trial.seconds:8.1f} ms a step, {ratio:4.2f}×"
        compiled = "" if trial.compile_seconds is None else f", compiled in {trial.compile_seconds:.0f} s"
        CONSOLE.print(line + compiled, soft_wrap=True)
    if choice.compile_note:
        CONSOLE.print(choice.compile_note, soft_wrap=True)


def print_learning_rate(optim: "OptimizerConfig", batch_size: int, processes: int, batch: int) -> None:
    """Images per step over all processes, and the learning rate that goes with them."""
    factors = [n for n in (processes, optim.accumulate) if n > 1] + [batch_size]
    text = " × ".join(map(str, factors))
    batch_text = f"{text} = {batch}" if len(factors) > 1 and batch == math.prod(factors) else f"{batch}"
    if optim.lr_base_batch:
        lr = optim.for_batch_size(batch).lr
        how = f"{lr:.4g}: {optim.lr:g} for {optim.lr_base_batch} images, scaled linearly"
    else:
        how = f"{optim.lr:g} as written (not scaled)"
    CONSOLE.print(f"global batch {batch_text}; lr {how}")
    if optim.accumulate > 1:
        what = "mixing and the statistics of BatchNorm are those of one batch"
        CONSOLE.print(f"a step is the mean gradient of {optim.accumulate} batches, one after the other; {what}", soft_wrap=True)
