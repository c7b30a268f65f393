"""`regulo predict`: the classes of image files, from a run folder (the data set is not needed)."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from regulo.core.affinity import leave_cores
from regulo.core.errors import InputError, Problem, one_line
from regulo.core.paths import expand_path
from regulo.data.components.image_files import ImageLister, image_extensions
from regulo.evaluation.image_loader import load_images, num_workers
from regulo.evaluation.image_reader import ImageReader
from regulo.evaluation.prediction_files import Row, csv_writer, prediction_path, write_predictions
from regulo.evaluation.views import Tta
from regulo.tracking.run_names import open_run


@torch.inference_mode()
def predict(run: str, paths: Sequence[str], top: int = 1, output: str | None = None, tta: Tta = "off") -> int:
    """Predict the classes of files, and of all images below folders. Returns 1 if an image cannot be read, else 0.

    top: the number of classes of each image. output: a new file .csv, .jsonl or .parquet; None: print CSV. tta: average over
    these views of each image. Raises InputError.
    """
    folder, path = open_run(run), prediction_path(output) if output else None
    files = list_image_files(paths)

    from regulo.evaluation.restore import load_run

    run_model = load_run(folder)
    num_classes = run_model.dataset_info.num_classes
    if not 1 <= top <= num_classes:
        raise InputError(Problem("--top", f"it is {top}", f"the run has {num_classes} classes: 1 to {num_classes}"))
    loader = load_images(files, ImageReader(run_model.config.data, run_model.dataset_info), num_workers(len(files)))
    unreadable = 0
    columns = prediction_columns(top)
    writer = write_predictions(path, columns) if path else nullcontext(csv_writer(sys.stdout, columns))
    with leave_cores(loader.num_workers), writer as write:
        for batch in _track(loader, len(loader), is_shown=path is not None or not sys.stdout.isatty()):
            for place, error in batch.errors:
                print(f"regulo: unreadable image {one_line(f'{files[place]}: {error}')}", file=sys.stderr)
            unreadable += len(batch.errors)
            if len(batch.indices):
                names = [str(files[i]) for i in batch.indices.tolist()]
                probabilities = run_model.predict_probabilities(batch.images, tta)
                write(prediction_rows(names, probabilities, run_model.classes, top))
    if path:
        print(f"{path}: {len(files) - unreadable:,} images")
    if unreadable:
        print(f"regulo: {unreadable:,} of {len(files):,} images cannot be read, and are not predicted", file=sys.stderr)
    return 1 if unreadable else 0


def prediction_columns(top: int) -> list[str]:
    """path, class, probability, class_2, probability_2, … up to `top`."""
    suffixes = ["", *(f"_{rank}" for rank in range(2, top + 1))]
    return ["path", *(f"{name}{suffix}" for suffix in suffixes for name in ("class", "probability"))]


def prediction_rows(names: Sequence[str], probabilities: torch.Tensor, classes: Sequence[str], top: int) -> list[Row]:
    """One row for each name, from probabilities (n, K): the values of `prediction_columns`."""
    values, labels = probabilities.topk(top)
    rows: list[Row] = []
    for name, *best in zip(names, values.tolist(), labels.tolist(), strict=True):
        pairs = zip(*best, strict=True)
        rows.append([name, *(cell for probability, k in pairs for cell in (classes[k], probability))])
    return rows


def _track(loader: Iterable[Any], batches: int, is_shown: bool) -> Iterable[Any]:
    """The batches of a loader, with a progress bar on standard error if that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(loader, "predicting", batches, console=console, transient=True, disable=not (is_shown and console.is_terminal))


def list_image_files(paths: Sequence[str]) -> list[Path]:
    """The files, and all images below the folders, sorted; what is left out is said on stderr.

    Raises InputError for a missing path, and if there is no image.
    """
    files: list[Path] = []
    notes: list[str] = []
    for path in map(expand_path, paths):
        if path.is_dir():
            lister = ImageLister(path)
            files += [path / name for name in lister.list_folder(path)]
            notes += [f"{path}: {note}" for note in lister.omissions.notes()]
        elif path.exists():
            files.append(path)
        else:
            raise InputError(Problem("PATH", f"there is no {path}"))
    for note in notes:
        print(f"regulo: {one_line(note)}", file=sys.stderr)
    if not files:
        raise InputError(
            Problem("PATH", "there is no image below the folders", "endings: " + " ".join(sorted(image_extensions())))
        )
    return files
