"""`regulo predict`: the classes of image files, from a run folder alone (the data set is not needed)."""

import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from regulo.core.errors import InputError, Problem
from regulo.core.paths import expand_path
from regulo.data.components.image_io import EXTENSIONS, import_albumentations, read_image
from regulo.tracking.run_names import open_run

BATCH = 64


@torch.inference_mode()
def predict(run: str, paths: Sequence[str]) -> int:
    """Print the classes of files, or of all images below folders, as CSV. Returns the exit code."""
    folder, files = open_run(run), image_files(paths)

    from regulo.evaluation.restore import load_run

    restored = load_run(folder)
    facts = restored.facts
    A = import_albumentations()
    fit = A.Compose(restored.config.data.resize_transforms() or [A.Resize(facts.height, facts.width)])
    write = csv.writer(sys.stdout)
    write.writerow(["path", "class", "probability"])
    unreadable = []
    for start in range(0, len(files), BATCH):
        readable, images = [], []
        for path in files[start : start + BATCH]:
            try:
                image = fit(image=read_image(os.fsencode(path), facts.channels))["image"]
            except Exception as error:  # a decoder may raise anything on a damaged file
                unreadable.append(f"{path}: {error}")
                continue
            readable.append(path)
            images.append(image.reshape(facts.height, facts.width, facts.channels).transpose(2, 0, 1))
        if readable:
            logits = restored.predict_logits(torch.from_numpy(np.stack(images)))
            for path, p, k in zip(readable, *logits.softmax(1).max(1), strict=True):
                write.writerow([path, facts.classes[int(k)], f"{float(p):.4f}"])
    for line in unreadable:
        print(f"regulo: unreadable image {line}", file=sys.stderr)
    return 1 if unreadable else 0


def image_files(paths: Sequence[str]) -> list[Path]:
    """The files, and all images below the folders, sorted. Raises InputError for what is not there."""
    found: list[Path] = []
    for path in map(expand_path, paths):
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS)
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(Problem("PATH", f"there is no {path}"))
    if not found:
        raise InputError(Problem("PATH", "there is no image below the folders", "endings: " + " ".join(EXTENSIONS)))
    return found
