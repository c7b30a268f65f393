"""Out-of-fold predictions: of each image, by a run that was not trained on it."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regulo.core.errors import InputError, Problem
from regulo.core.files import atomic_write
from regulo.core.safe_io import read_text
from regulo.data.base import DatasetConfig
from regulo.data.components.folds import assign_pool, pool_images
from regulo.evaluation.prediction_files import for_spreadsheet, path_for_spreadsheet
from regulo.tracking import records
from regulo.tracking.run_dir import RunFolder

FILE = "test_predictions.csv"
"""the file in the folder of a run"""
COLUMNS = ("image", "label", "prediction", "fold")
"""the first columns; one for each class follows, with its probability"""
PREFIX = "p_"
"""begins the name of the column of a class"""


@dataclass(frozen=True)
class Predictions:
    """The probabilities of some images."""

    classes: tuple[str, ...]
    images: tuple[str, ...]
    """paths relative to data.root; or numbers in the training images, which the validation images follow"""
    labels: np.ndarray  # (n,) int64
    folds: np.ndarray  # (n,) int64
    probabilities: np.ndarray  # (n, K) float64

    def to_csv(self, for_spreadsheets: bool = False) -> str:
        """The predictions as CSV, as `read_predictions` reads it; or without cells that a spreadsheet would run."""
        text = io.StringIO()
        writer = csv.writer(text)  # its line ends let it quote every line end in a file name
        writer.writerow([*COLUMNS, *(PREFIX + name for name in self.classes)])
        images, classes = self.images, self.classes
        if for_spreadsheets:
            images, classes = tuple(map(path_for_spreadsheet, images)), tuple(map(for_spreadsheet, classes))
        guesses = self.probabilities.argmax(1)
        for image, label, guess, fold, row in zip(images, self.labels, guesses, self.folds, self.probabilities, strict=True):
            writer.writerow([image, classes[label], classes[guess], fold, *(f"{p:.6g}" for p in row)])
        return text.getvalue()


def save_test_predictions(folder: RunFolder) -> None:
    """Predict all test images of a finished run, and save the result in its folder. Raises InputError."""
    from regulo.core import failures
    from regulo.evaluation.restore import load_run, open_run_data

    run = load_run(folder)
    all_images = run.config.trainer.model_copy(update={"limit_batches": None})
    run = dataclasses.replace(run, config=dataclasses.replace(run.config, trainer=all_images))
    data = open_run_data(run)
    with failures.as_input_error(run.config.data.batch_size):
        output = run.predict_loader(data.evaluation_loader("test"))
    labels, probabilities = output.labels.numpy(), output.logits.double().softmax(1).numpy()
    folds = np.full(len(labels), run.config.data.fold)
    predictions = Predictions(run.dataset_info.classes, _test_images(folder, run.config.data), labels, folds, probabilities)
    atomic_write(folder.path / FILE, predictions.to_csv())


def _test_images(folder: RunFolder, config: DatasetConfig) -> tuple[str, ...]:
    """The name of each test image of a run: its path, or its number."""
    record = records.read_data_record(folder)
    if record and record.files:
        return tuple(path for name in record.classes for path in record.files["test"][name])
    pool, digests = pool_images(config.splits())
    return tuple(map(str, np.flatnonzero(assign_pool(config, pool, digests) == config.fold)))


def read_predictions(file: Path) -> Predictions:
    """The predictions in a file. Raises InputError if it is not what Regulo writes."""
    rows = list(csv.reader(io.StringIO(read_text(file, key="predictions"), newline="")))
    try:
        classes = tuple(name.removeprefix(PREFIX) for name in rows[0][len(COLUMNS) :])
        index = {name: k for k, name in enumerate(classes)}
        images, labels, _, folds, *columns = zip(*rows[1:], strict=True)
        probabilities = np.array(columns, float).T
        if probabilities.shape[1] != len(classes):
            raise ValueError("a row has no probability of each class")
        return Predictions(classes, images, np.array([index[name] for name in labels]), np.array(folds, int), probabilities)
    except (ValueError, KeyError, IndexError) as error:
        raise InputError(
            Problem("predictions", f"{file} is not what Regulo writes: {error}", "remove it and start again")
        ) from error


def join_predictions(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of several runs, sorted by image; those of one image, from several seeds, are averaged."""
    images = [image for part in parts for image in part.images]
    names, first, place = np.unique(np.array(images, object).astype(str), return_index=True, return_inverse=True)
    probabilities = np.zeros((len(names), len(parts[0].classes)))
    np.add.at(probabilities, place, np.concatenate([part.probabilities for part in parts]))
    probabilities /= np.bincount(place)[:, None]
    labels, folds = (np.concatenate([getattr(part, key) for part in parts])[first] for key in ("labels", "folds"))
    order = np.lexsort((names, labels))
    return Predictions(
        parts[0].classes, tuple(images[i] for i in first[order]), labels[order], folds[order], probabilities[order]
    )
