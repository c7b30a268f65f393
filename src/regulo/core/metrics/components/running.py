"""Loss, metrics and speed during training, as sums that stay on the device."""

import statistics
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from regulo.core.collectives import mean_over_ranks, sum_over_ranks
from regulo.core.metrics.base import ConfusionMetric, MeanMetric, list_metrics


class EvalMetrics:
    """Loss, confusion matrix and other sums over a split, on the device, which nothing waits for before `compute`."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.num_classes = num_classes
        self.loss = torch.zeros((), device=device)
        self.confusion = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=device)
        self.means = [m for m in list_metrics(num_classes) if isinstance(m, MeanMetric)]
        self.sums = torch.zeros(len(self.means), dtype=torch.float32, device=device)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (B, K) and labels (B,)."""
        self.loss += F.cross_entropy(logits.float(), labels, reduction="sum")
        cells = labels * self.num_classes + logits.argmax(1)
        self.confusion.index_add_(0, cells, torch.ones_like(cells))
        for i, metric in enumerate(self.means):
            self.sums[i] += metric.per_image(logits, labels).sum()

    def compute(self) -> dict[str, float]:
        """Over all ranks: every metric that is computed in validation, with loss (mean negative log-likelihood, nats)."""
        sum_over_ranks(self.loss, self.confusion, self.sums)
        matrix = self.confusion.cpu().view(self.num_classes, self.num_classes)
        confusion_metrics = [m for m in list_metrics(self.num_classes) if isinstance(m, ConfusionMetric)]
        scores = {m.name: m.from_confusion(matrix).item() for m in confusion_metrics}
        scores |= {m.name: total / int(matrix.sum()) for m, total in zip(self.means, self.sums.tolist(), strict=True)}
        return scores | {"loss": (self.loss.cpu() / matrix.sum()).item()}


class TrainMetrics:
    """Training loss and accuracy since the last `compute`, summed on the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.sums: dict[str, Tensor] = {}
        self.steps = 0

    @torch.no_grad()
    def update(self, parts: dict[str, Tensor], logits: Tensor, targets: Tensor) -> None:
        """Add a step: parts () of its loss, logits (B, K), soft targets (B, K). Right is the class with the largest target."""
        right = (logits.argmax(1) == targets.argmax(1)).float().mean()
        for name, value in (parts | {"right": right}).items():
            total = value.detach().float()
            self.sums[name] = self.sums[name] + total if name in self.sums else total
        self.steps += 1

    def compute(self) -> tuple[float, float, dict[str, float]]:
        """(mean loss, mean accuracy, mean of each penalty) since the last call, over all ranks. Waits for the device once."""
        means = torch.stack(list(self.sums.values())) / self.steps
        mean_over_ranks(means)  # all ranks see the same loss, so a loss that is not finite ends all of them
        penalties = dict(zip(self.sums, means.tolist(), strict=True))
        self.sums, self.steps = {}, 0
        accuracy, data_loss = penalties.pop("right"), penalties.pop("data")
        return data_loss + sum(penalties.values()), accuracy, penalties

    def state_dict(self) -> dict[str, Any]:
        """The sums, as plain data."""
        return {"sums": {name: total.cpu() for name, total in self.sums.items()}, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the sums of `state_dict`."""
        self.sums = {name: total.to(self.device) for name, total in state["sums"].items()}
        self.steps = state["steps"]


def generalization_gaps(scores: dict[str, float]) -> dict[str, float]:
    """{gap/acc, gap/loss} between clean train and val; both are positive when a network overfits."""
    return {
        "gap/acc": scores["train_clean/acc"] - scores["val/acc"],
        "gap/loss": scores["val/loss"] - scores["train_clean/loss"],
    }


class Throughput:
    """Training images per second over all devices, without the time of validation."""

    def __init__(self) -> None:
        self.past_images, self.past_seconds, self.began = 0, 0.0, time.perf_counter()
        self.epochs: list[float] = []  # seconds of each
        self.start_epoch()

    def start_epoch(self) -> None:
        """Start the clock of an epoch."""
        self.images, self.start = 0, time.perf_counter()

    def images_per_second(self) -> float:
        """The rate since the start of the epoch. Call it right after a wait for the device."""
        return self.images / (time.perf_counter() - self.start)

    def end_epoch(self) -> None:
        """Stop the clock of an epoch."""
        self.past_images += self.images
        self.epochs.append(time.perf_counter() - self.start)
        self.images = 0

    def mean_images_per_second(self) -> float:
        """The rate over all finished epochs; 0 before the first one."""
        return self.past_images / sum(self.epochs) if self.epochs else 0.0

    def median_epoch_seconds(self) -> float:
        """The median seconds of an epoch; 0 before the first one."""
        return statistics.median(self.epochs) if self.epochs else 0.0

    def fit_seconds(self) -> float:
        """Seconds of training so far, with validation, and with the time before a resume."""
        return self.past_seconds + time.perf_counter() - self.began

    def state_dict(self) -> dict[str, Any]:
        """The counts and times so far, as plain data; with the images and seconds of an unfinished epoch."""
        under_way = self.images > 0
        return {
            "images": self.past_images,
            "seconds": self.fit_seconds(),
            "epochs": list(self.epochs),
            "under_way": [self.images, time.perf_counter() - self.start] if under_way else [0, 0.0],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the counts of `state_dict`."""
        self.past_images, self.epochs = state["images"], list(state["epochs"])
        self.past_seconds = state["seconds"]
        self.images, seconds = state["under_way"]
        self.start = time.perf_counter() - seconds
