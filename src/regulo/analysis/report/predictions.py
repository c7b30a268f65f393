"""The predictions of a run on its test images. A run saves only its scores, so the restored model predicts again."""

from dataclasses import dataclass

from regulo.core.errors import InputError
from regulo.core.metrics.base import EvalOutput
from regulo.core.types import DatasetInfo, Split
from regulo.tracking.run_dir import RunFolder


@dataclass(frozen=True)
class RunPredictions:
    """The test split and the model's output on it."""

    test: EvalOutput
    split: Split
    dataset_info: DatasetInfo
    sizes: dict[str, int]
    """the number of images, by split"""


def predict_again(folder: RunFolder, data_root: str | None = None) -> RunPredictions | str:
    """The predictions, or why there are none: the run has no weights, or its data are missing or have changed."""
    from regulo.evaluation.restore import load_run, open_run_data

    try:
        run = load_run(folder, data_root)
        data = open_run_data(run)
    except InputError as refusal:
        return "; ".join(f"{p.key}: {p.what}" for p in refusal.problems)
    test = run.predict_loader(data.evaluation_loader("test"))
    sizes = {name: len(split) for name, split in data.eval_datasets.items()}
    sizes |= {"train": len(data.train_dataset), "test": len(test.labels)}
    return RunPredictions(test, data.eval_datasets["test"].split, run.dataset_info, sizes)
