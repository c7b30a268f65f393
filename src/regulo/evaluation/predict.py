"""`regulo predict`: the classes of image files, from a run folder (the data set is not needed)."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from regulo.core.errors import InputError, Problem, one_line
from regulo.core.paths import expand_path
from regulo.data.components.image_files import ImageLister, image_extensions
from regulo.evaluation.image_reader import BATCH, ImageReader
from regulo.tracking.run_names import open_run


@torch.inference_mode()
def predict(run: str, paths: Sequence[str]) -> int:
    """Print the classes of files, and of all images below folders, as CSV. Returns 1 if an image cannot be read, else 0."""
    folder, files = open_run(run), list_image_files(paths)

    from regulo.evaluation.restore import load_run

    run_model = load_run(folder)
    dataset_info = run_model.dataset_info
    read = ImageReader(run_model.config.data, dataset_info)
    writer = csv.writer(sys.stdout)
    writer.writerow(["path", "class", "probability"])
    errors = []
    for start in range(0, len(files), BATCH):
        readable, images = [], []
        for path in files[start : start + BATCH]:
            try:
                images.append(read(path))
            except Exception as error:  # a decoder may raise anything on a damaged file
                errors.append(one_line(f"{path}: {error}"))
                continue
            readable.append(path)
        if readable:
            logits = run_model.predict_logits(torch.from_numpy(np.stack(images)))
            for path, probability, k in zip(readable, *logits.softmax(1).max(1), strict=True):
                writer.writerow(
                    [path_for_spreadsheet(path), for_spreadsheet(dataset_info.classes[int(k)]), f"{float(probability):.4f}"]
                )
    for message in errors:
        print(f"regulo: unreadable image {message}", file=sys.stderr)
    return 1 if errors else 0


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


def for_spreadsheet(text: str) -> str:
    """A field of a CSV file that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def path_for_spreadsheet(path: Path) -> str:
    """A path that no spreadsheet takes for a formula, and that can still be opened. A terminal shows its control characters."""
    text = f"./{path}" if for_spreadsheet(str(path)) != str(path) else str(path)
    return one_line(text) if sys.stdout.isatty() else text
