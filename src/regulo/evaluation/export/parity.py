"""The parity of an exported file with its run: do both predict the same, on every test image?"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table
from torch import Tensor

from regulo.core.console import CONSOLE, STYLE
from regulo.core.metrics.base import EvalOutput
from regulo.core.text import format_bytes
from regulo.evaluation.export.formats import Predict
from regulo.evaluation.image_loader import BATCH

MIN_AGREEMENT, MAX_DIFFERENCE = 0.999, 1e-3
"""what an exported file must reach: share of images with the same best class, and largest difference of a probability"""
TIMED_IMAGES = 50
"""test images whose latency is measured, one at a time"""


@dataclass(frozen=True)
class Parity:
    """How an exported file and its run compare on the test images of the run."""

    images: int
    agreement: float
    """share of the images whose most probable class is that of the run in float32"""
    max_difference: float
    """largest |Δp| over all images and classes, against the run in float32"""
    precision: str
    """in which `regulo predict` computes"""
    agreement_in_precision: float
    """share of the images whose most probable class is that of the run in this precision"""
    accuracy: float
    run_accuracy: float
    latency_ms: float
    """median milliseconds for one image, from its pixels to the probabilities"""
    run_latency_ms: float
    """the same in Regulo, on the device of the run"""
    bytes: int

    @property
    def is_sufficient(self) -> bool:
        """Whether the file may be used in place of the run."""
        return self.agreement >= MIN_AGREEMENT and self.max_difference <= MAX_DIFFERENCE

    def to_json(self) -> dict[str, Any]:
        """All numbers, with the limits that they must keep."""
        return asdict(self) | {"limits": {"agreement": MIN_AGREEMENT, "max_difference": MAX_DIFFERENCE}}

    def rows(self) -> list[tuple[str, str]]:
        """For people: what was measured, and the number."""
        precision = f"{self.agreement_in_precision:.2%} of the images in {self.precision}, as the run predicts"
        return [
            ("same best class", f"{self.agreement:.2%} of {self.images:,} test images (at least {MIN_AGREEMENT:.1%})"),
            *([] if self.precision == "32-true" else [("", precision)]),
            ("largest |Δp|", f"{self.max_difference:.1e} (at most {MAX_DIFFERENCE:.0e})"),
            ("test accuracy", f"{self.accuracy:.4f}; of the run {self.run_accuracy:.4f}"),
            ("latency, one image", f"{self.latency_ms:.1f} ms; of the run {self.run_latency_ms:.1f} ms"),
            ("size", format_bytes(self.bytes)),
        ]

    def print(self) -> None:
        """Print it as a table."""
        table = Table("parity", "", **STYLE)
        for row in self.rows():
            table.add_row(*row)
        CONSOLE.print(table)


def predict_all(predict: Predict, images: Iterable[np.ndarray]) -> np.ndarray:
    """The probabilities (n, K) of images (H, W, C) uint8 in order; neighbors of one size are predicted together."""
    return np.concatenate([predict(np.stack(batch)) for batch in _batches(images)])


def _batches(images: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    for _, same_size in itertools.groupby(images, key=lambda image: image.shape):
        while batch := list(itertools.islice(same_size, BATCH)):
            yield batch


def latency(predict: Callable[[np.ndarray], object], images: Iterable[np.ndarray]) -> float:
    """Median milliseconds for one image, after one image of warm-up."""
    seconds = []
    for image in itertools.islice(images, TIMED_IMAGES + 1):
        start = time.perf_counter()
        predict(image)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[1:] or seconds)


def compare(probabilities: np.ndarray, reference: EvalOutput) -> dict[str, float]:
    """Agreement, largest difference and accuracies of probabilities (n, K) and the logits of the run on the same images."""
    expected: Tensor = reference.logits.softmax(1)
    best, labels = probabilities.argmax(1), reference.labels.numpy()
    run_best = expected.argmax(1).numpy()
    return {
        "agreement": float((best == run_best).mean()),
        "max_difference": float(np.abs(probabilities - expected.numpy()).max()),
        "accuracy": float((best == labels).mean()),
        "run_accuracy": float((run_best == labels).mean()),
    }
