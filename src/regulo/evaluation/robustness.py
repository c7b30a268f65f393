"""What a study measures on a finished run beside result.json: calibration by one temperature, and robustness."""

import statistics
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from regulo.evaluation.corruptions import KINDS, SEVERITIES, corrupt
from regulo.tracking import records
from regulo.tracking.run_dir import RunFolder

if TYPE_CHECKING:
    from regulo.core.types import Batch

IMAGES = 1000
"""test images, the same in every run, that are corrupted in each way: 21,000 answers"""


def read_robustness(folder: RunFolder) -> dict[str, float]:
    """What has been measured on a run; empty, if nothing has."""
    return records.read_measures(folder)


def measure_robustness(folder: RunFolder, corruptions: bool = True) -> dict[str, float]:
    """Measure a finished run, and write measures.json. Raises InputError if the run cannot be restored.

    temperature                         by which the network's logits are divided, fitted on validation (arXiv:1706.04599)
    test/ece_scaled                     expected calibration error of the test split after that
    corrupted/acc                       mean accuracy on corrupted test images, over kinds and severities
    corrupted/<kind>/<severity>/acc     each of them
    """
    import numpy as np

    from regulo.core.metrics import EvalOutput
    from regulo.data.base import fixed_subset
    from regulo.data.components.dataset import BatchedImages
    from regulo.evaluation.restore import load_run, open_run_data
    from regulo.regularizers.temperature_scaling import temperature

    run = load_run(folder)
    data = open_run_data(run)
    val, test = (run.predict(data.evaluation_loader(split)) for split in ("val", "test"))
    fitted = temperature(val.logits * run.temperature, val.labels)  # of the network's own logits, if the run scales them itself
    scaled = EvalOutput(test.logits * run.temperature / fitted, test.labels)
    measured = {"temperature": fitted, "test/ece_scaled": scaled.scores()["ece"]}
    if corruptions:
        whole = data.eval_datasets["test"]
        places = fixed_subset(len(whole), IMAGES)
        data.eval_datasets["some"] = BatchedImages(whole.split.select(places), data.config.resize_transforms(), whole.seed)
        clean = [b._replace(indices=b.indices.new_tensor(places[np.asarray(b.indices)])) for b in data.evaluation_loader("some")]
        each = {
            f"corrupted/{kind}/{severity}/acc": run.predict(corrupt_batches(clean, kind, severity)).scores()["acc"]
            for kind in KINDS
            for severity in SEVERITIES
        }
        measured |= {"corrupted/acc": statistics.fmean(each.values()), **each}
    folder.save_json("measures.json", measured)
    return measured


def corrupt_batches(batches: "Iterable[Batch]", kind: str, severity: int) -> "Iterator[Batch]":
    """The same batches, every image corrupted."""
    import numpy as np
    import torch

    for batch in batches:
        images = batch.images.permute(0, 2, 3, 1).numpy()
        spoilt = [corrupt(image, kind, severity, int(i)) for image, i in zip(images, batch.indices, strict=True)]
        yield batch._replace(images=torch.from_numpy(np.stack(spoilt)).permute(0, 3, 1, 2).contiguous())
