"""What a study measures on a finished run besides result.json: calibration by one temperature, and robustness."""

import statistics
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from regulo.evaluation.corruptions import KINDS, SEVERITIES, corrupt
from regulo.tracking.run_dir import RunFolder

if TYPE_CHECKING:
    from regulo.core.types import Batch
    from regulo.data.components.datamodule import ImageDataModule
    from regulo.evaluation.restore import LoadedRun

IMAGES = 1000
"""test images, the same in every run, that are corrupted in each of the 21 ways: 21,000 predictions"""


def measure_robustness(folder: RunFolder, corruptions: bool = True) -> dict[str, float]:
    """Measure a finished run, and write measures.json. Raises InputError if the run cannot be loaded.

    temperature                         divides the logits of the network; fitted on validation (arXiv:1706.04599)
    test/ece_scaled                     expected calibration error of the test split with this temperature
    corrupted/acc                       mean accuracy on corrupted test images, over kinds and severities
    corrupted/<kind>/<severity>/acc     each of them
    """
    from regulo.core.metrics.base import EvalOutput
    from regulo.evaluation.restore import load_run, open_run_data
    from regulo.regularizers.temperature_scaling import temperature

    run = load_run(folder)
    data = open_run_data(run)
    val, test = (run.predict_loader(data.evaluation_loader(split)) for split in ("val", "test"))
    # a run with temperature_scaling has divided its logits already: this is undone first
    best_temperature = temperature(val.logits * run.temperature, val.labels)
    calibrated_output = EvalOutput(test.logits * run.temperature / best_temperature, test.labels)
    measures = {"temperature": best_temperature, "test/ece_scaled": calibrated_output.scores()["ece"]}
    if corruptions:
        measures |= _measure_corruptions(run, data)
    folder.save_json("measures.json", measures)
    return measures


def _measure_corruptions(run: "LoadedRun", data: "ImageDataModule") -> dict[str, float]:
    """Accuracy on the same IMAGES test images with each corruption, and the mean of these accuracies."""
    import numpy as np

    from regulo.data.components.dataset import BatchedImages, list_resize
    from regulo.data.components.subsets import fixed_subset

    test = data.eval_datasets["test"]
    indices = fixed_subset(len(test), IMAGES)
    data.eval_datasets["some"] = BatchedImages(test.split.select(indices), list_resize(data.config.resize()), data.seed)
    clean = [b._replace(indices=b.indices.new_tensor(indices[np.asarray(b.indices)])) for b in data.evaluation_loader("some")]
    accuracies = {
        f"corrupted/{kind}/{severity}/acc": run.predict_loader(corrupt_batches(clean, kind, severity)).scores()["acc"]
        for kind in KINDS
        for severity in SEVERITIES
    }
    return {"corrupted/acc": statistics.fmean(accuracies.values()), **accuracies}


def corrupt_batches(batches: "Iterable[Batch]", kind: str, severity: int) -> "Iterator[Batch]":
    """The same batches with every image corrupted; an image's index in its data set seeds its random numbers."""
    import numpy as np
    import torch

    for batch in batches:
        images = batch.images.permute(0, 2, 3, 1).numpy()
        corrupt_images = [corrupt(image, kind, severity, int(i)) for image, i in zip(images, batch.indices, strict=True)]
        yield batch._replace(images=torch.from_numpy(np.stack(corrupt_images)).permute(0, 3, 1, 2).contiguous())
