"""A run's answers on its test images, given again by its restored model: a run keeps scores, not answers."""

from dataclasses import dataclass

from regulo.batch import Facts, Split
from regulo.errors import Refused
from regulo.runs import RunFolder
from regulo.scores import Evaluation


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
    from regulo.evaluate import images_of
    from regulo.restore import restore

    try:
        run = restore(folder)
        data = images_of(run)
    except Refused as refusal:
        return "; ".join(f"{p.key}: {p.what}" for p in refusal.problems)
    test = run.answers(data.evaluation_loader("test"))
    sizes = {name: len(split) for name, split in data.evaluated.items()} | {"train": len(data.train), "test": len(test.labels)}
    return Answered(test, data.evaluated["test"].split, run.facts, sizes)
