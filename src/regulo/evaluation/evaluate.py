"""`regulo evaluate`: evaluate a finished run again, from its folder, on its own images or on others."""

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from regulo.core.errors import InputError, Problem, one_line
from regulo.core.paths import expand_path, redact_home
from regulo.core.types import Batch
from regulo.evaluation.image_loader import ImageBatch, load_images, num_workers
from regulo.evaluation.image_reader import ImageReader
from regulo.evaluation.labeled_images import KEY, LabeledImages, list_labeled_images
from regulo.evaluation.restore import open_run_data
from regulo.tracking.records import EVALUATIONS, EvaluationRecord
from regulo.tracking.run_dir import SPLITS, RunFolder
from regulo.tracking.run_names import open_run

if TYPE_CHECKING:
    from regulo.evaluation.restore import LoadedRun


def evaluate(run: str, split: str | None, data_root: str | None = None, data: str | None = None) -> int:
    """Rebuild the model from the run folder and print its scores on a split, or on all splits. Returns the exit code.

    `data_root`: the folder in which the data are now. `data`: score these labeled images instead, and keep the scores in the run
    folder. Raises InputError.
    """
    folder = open_run(run)
    if data and (split or data_root):
        raise InputError(Problem(KEY, "names other images than the run's", "leave out the split and --data-root"))

    from regulo.core import failures
    from regulo.evaluation import summary
    from regulo.evaluation.restore import load_run

    run_model = load_run(folder, data_root)
    with failures.as_input_error(run_model.config.data.batch_size):
        scores = score_images(run_model, data) if data else score_splits(run_model, [split] if split else SPLITS)
    summary.print_scores(scores, title=f"{folder.path.name}, weights of epoch {run_model.epoch}")
    print(json.dumps(scores))
    return 0


def score_splits(run: "LoadedRun", splits: Iterable[str]) -> dict[str, float]:
    """The scores on splits of the run's own data: {"test/acc": …}. Raises InputError."""
    data = open_run_data(run)
    return {
        f"{name}/{key}": value
        for name in splits
        for key, value in run.predict_loader(data.evaluation_loader(name)).scores().items()
    }


def score_images(run: "LoadedRun", path: str) -> dict[str, float]:
    """The scores on labeled images, {"data/acc": …}, which are also kept in the run folder. Raises InputError."""
    images = list_labeled_images(path, run.classes)
    for note in images.notes:
        print(f"regulo: {one_line(note)}", file=sys.stderr)
    read = ImageReader(run.config.data, run.dataset_info)
    loader = load_images(images.paths, read, num_workers(len(images.paths)), run.config.data.batch_size)
    output = run.predict_loader(_with_labels(loader, images))
    scores = {f"data/{key}": value for key, value in output.scores().items()}
    counts = np.bincount(images.labels, minlength=len(run.classes)).tolist()
    record = EvaluationRecord(
        data=redact_home(str(expand_path(path))),
        images=dict(zip(run.classes, counts, strict=True)),
        notes=images.notes,
        weights_epoch=run.epoch,
        scores=scores,
    )
    _save_record(run.folder, record, expand_path(path).resolve())
    return scores


def _with_labels(batches: Iterable[ImageBatch], images: LabeledImages) -> Iterator[Batch]:
    """The batches with their labels. Raises InputError, at the end, that names the images which cannot be read."""
    problems = []
    for batch in batches:
        problems += [Problem(KEY, f"cannot read {images.paths[i]}: {why}", "repair or remove it") for i, why in batch.errors]
        if len(batch.indices):
            yield Batch(batch.images, torch.from_numpy(images.labels)[batch.indices], batch.indices)
    if problems:
        raise InputError.of_many(problems)


def _save_record(folder: RunFolder, record: EvaluationRecord, data: Path) -> None:
    """Write the record into the run folder. The same data have the same file; a folder that is read-only is left as it is."""
    digest = hashlib.blake2b(str(data).encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    name = f"{EVALUATIONS}/{re.sub(r'[^A-Za-z0-9]+', '-', data.name)[:40].strip('-')}-{digest}.json"
    try:
        (folder.path / EVALUATIONS).mkdir(exist_ok=True)
        folder.save_json(name, record.model_dump())
    except OSError as error:
        print(f"regulo: the scores are not kept in {folder.path}: {error.strerror}", file=sys.stderr)
    else:
        print(f"regulo: the scores are kept in {folder.path / name}", file=sys.stderr)
