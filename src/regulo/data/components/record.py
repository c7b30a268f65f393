"""The description of the data of a run, which is printed at the start and kept as data.json, and the comparison with it later."""

import hashlib

import numpy as np

from regulo.core import failures
from regulo.core.types import Split
from regulo.data.base import DatasetConfig, Splits, check_splits, data_error
from regulo.data.components.folds import take_fold
from regulo.tracking import records
from regulo.tracking.records import DataRecord
from regulo.tracking.run_dir import RunFolder


def open_splits(config: DatasetConfig, run: RunFolder | None = None) -> tuple[Splits, DataRecord]:
    """The splits of a new run, or those that the run in a folder has seen; and their record. Raises InputError."""
    record = records.read_data_record(run) if run else None
    is_new = run is None or not (record or run.has_checkpoint())
    with failures.as_input_error(config.batch_size):
        splits = check_splits(take_fold(config, config.splits() if is_new else config.restore_splits(record)))
        splits = config.normalize_as_configured(splits)
    current = describe_data(config, splits)
    if record:
        check_same_data(current, record)
        notes = [*record.notes, *current.notes]
        if current.resize != record.resize:
            before = record.resize or "an earlier version's"
            notes.append(f"resized by another rule ({current.resize}) than before ({before}): scores are not quite comparable")
        update = {"source": current.source, "resize": current.resize, "notes": list(dict.fromkeys(notes))}
        current = record.model_copy(update=update)
    return splits, current


def describe_data(config: DatasetConfig, splits: Splits) -> DataRecord:
    """Where the images are from, how many each class has in each split, and a digest of each split."""
    num_classes = splits.dataset_info.num_classes
    return DataRecord(
        source=config.describe_source(),
        classes=list(splits.dataset_info.classes),
        images={name: np.bincount(split.labels, minlength=num_classes).tolist() for name, split in splits.items()},
        digests={name: splits.digests.get(name) or _digest(split) for name, split in splits.items()},
        notes=list(splits.notes),
        pixel_range=list(splits.dataset_info.pixel_range or ()) or None,
        resize=str(resize) if (resize := config.resize()) else None,
        fold=None if config.fold is None else [config.fold, config.folds or 0],
        files=splits.files,
    )


def check_same_data(current: DataRecord, record: DataRecord) -> None:
    """Raise InputError if the data are not those of the record."""
    if current.classes != record.classes:
        what = f"the data have the classes {_enumerate(current.classes)}, but the run has {_enumerate(record.classes)}"
        raise data_error("data", what, "put the class folders back, or begin a new run")
    if current.fold != record.fold:
        what = f"the test split is {_describe_fold(current)}, and that of the run is {_describe_fold(record)}"
        raise data_error("data.fold", what, "name the same fold, or begin a new run")
    different = [name for name, digest in record.digests.items() if current.digests[name] != digest]
    if different:
        what = f"the images of {' and '.join(different)} are not those that this run was trained and evaluated on"
        how = [f"{name}: {sum(record.images[name]):,} then, {sum(current.images[name]):,} now" for name in different]
        raise data_error("data", f"{what} ({'; '.join(how)})", "put the old files back, or begin a new run")


def _describe_fold(record: DataRecord) -> str:
    return "fold {} of {}".format(*record.fold) if record.fold else "no fold"


def _digest(split: Split) -> str:
    """Of the labels, and of the pixels if they lie in memory."""
    digest = hashlib.blake2b(split.labels.astype("<i8").tobytes(), digest_size=16)
    if isinstance(split.images, np.ndarray):
        digest.update(np.ascontiguousarray(split.images).data)
    return digest.hexdigest()


def _enumerate(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f", … ({len(names)})" if len(names) > 10 else "")
