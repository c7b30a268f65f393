"""A run's answers on its test images, given again by its restored model: a run keeps scores, not answers."""

from dataclasses import dataclass

from regulo.core.errors import Refused
from regulo.core.metrics import Evaluation
from regulo.core.types import Facts, Split
from regulo.tracking.run_dir import RunFolder


@dataclass(frozen=True)
class Answered:
    """The test split and the answers to it."""

    test: Evaluation
    split: Split
    facts: Facts
    sizes: dict[str, int]
    """images that are measured, by split"""


def again(folder: RunFolder) -> Answered | str:
    """The answers, or why there are none: the run has no weights, or the data are not here or not the same any more."""
    from regulo.evaluation.restore import images_of, restore

    try:
        run = restore(folder)
        data = images_of(run)
    except Refused as refusal:
        return "; ".join(f"{p.key}: {p.what}" for p in refusal.problems)
    test = run.answers(data.evaluation_loader("test"))
    sizes = {name: len(split) for name, split in data.evaluated.items()} | {"train": len(data.train), "test": len(test.labels)}
    return Answered(test, data.evaluated["test"].split, run.facts, sizes)
