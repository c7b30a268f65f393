"""A run's answers on its test images, given again by its restored model: a run keeps scores, not answers."""

from dataclasses import dataclass

from regulo.core.errors import InputError
from regulo.core.metrics import EvalOutput
from regulo.core.types import DatasetInfo, Split
from regulo.tracking.run_dir import RunFolder


@dataclass(frozen=True)
class RunPredictions:
    """The test split and the answers to it."""

    test: EvalOutput
    split: Split
    facts: DatasetInfo
    sizes: dict[str, int]
    """images that are measured, by split"""


def predict_again(folder: RunFolder) -> RunPredictions | str:
    """The answers, or why there are none: the run has no weights, or the data are not here or not the same any more."""
    from regulo.evaluation.restore import load_run, open_run_data

    try:
        run = load_run(folder)
        data = open_run_data(run)
    except InputError as refusal:
        return "; ".join(f"{p.key}: {p.what}" for p in refusal.problems)
    test = run.predict(data.evaluation_loader("test"))
    sizes = {name: len(split) for name, split in data.eval_datasets.items()} | {
        "train": len(data.train_dataset),
        "test": len(test.labels),
    }
    return RunPredictions(test, data.eval_datasets["test"].split, run.facts, sizes)
