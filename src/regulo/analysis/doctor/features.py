"""A run's curves in a few numbers: a pure function of metrics.csv, result.json and the configuration."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regulo.config.schema import Config
from regulo.config.validate import read_run_config
from regulo.core.errors import NonFiniteLossError
from regulo.core.schedule import peak
from regulo.regularizers.base import Regularizer
from regulo.tracking import records
from regulo.tracking.records import Metrics
from regulo.tracking.run_dir import RunFolder

NAN = float("nan")


@dataclass(frozen=True)
class Features:
    """Losses are mean NLLs in nats; accuracies and shares lie in [0, 1]. What a run did not measure is NaN."""

    classes: int
    """K: a new network has a loss near ln K"""
    chance_loss: float
    """the loss of guessing by the frequencies of the classes in training: their entropy, ln K if all are equally frequent"""
    failed: bool
    """whether a loss was not finite"""
    epochs: int
    """epochs that the run finished"""
    max_epochs: int
    """epochs that the configuration asks for"""
    rate_left: float
    """the last learning rate, as a share of the highest one of the run"""
    train_acc: float
    """accuracy on clean training images, at the end"""
    train_loss: float
    """loss on clean training images, at the end"""
    train_mode_loss: float
    """the mean training loss of the last epoch, without penalties: in training mode, on the plan's images and targets"""
    gap_acc: float
    """accuracy on clean training images − on validation images, at the end"""
    gap_loss: float
    """loss on validation images − on clean training images, at the end"""
    gap_slope: float
    """change of gap/acc, in percentage points per epoch, over the last third of the run"""
    best: float
    """the share of the run at which the validation loss was lowest"""
    rise: float
    """the validation loss at the end over its lowest value, minus 1"""
    falling: float
    """the share by which the clean training loss fell per epoch, over the last third of the run"""
    spike: float
    """the highest training loss, without penalties, over ln K; it starts near 1"""
    relative_strength: float
    """the strength of the plan's strongest technique, as a multiple of its class's default"""
    relative_lr: float
    """the learning rate, as a multiple of its optimizer's default"""
    temperature: float
    """the temperature that calibrates the predictions: above 1 they are overconfident; NaN if none was fitted"""
    strongest_technique: str = ""
    """the technique that has `relative_strength`; empty: the plan has none"""

    @property
    def unlearned(self) -> float:
        """The clean training loss, as a share of the loss of guessing."""
        return ratio(self.train_loss, self.chance_loss)

    @property
    def burden(self) -> float:
        """What the plan adds to the training loss, which is harder in training mode, as a share of the loss of guessing."""
        return ratio(self.train_mode_loss - self.train_loss, self.chance_loss)


def read_features(folder: RunFolder, metrics: Metrics | None = None) -> Features:
    """The features of a run, from its folder. Raises InputError if its configuration is no longer valid.

    `metrics`: its metrics.csv, if that has been read already.
    """
    result, config = records.read_measures(folder) | records.read_result(folder), read_run_config(folder)
    classes = count_classes(folder)
    record = records.read_data_record(folder)
    counts = record.images["train"] if record else [1] * classes
    return compute_features(metrics or records.read_metrics(folder), result, config, classes, counts)


def count_classes(folder: RunFolder) -> int:
    """K, from a checkpoint; 10 if the run has not written one yet (its loss then decides without K)."""
    from regulo.tracking import checkpoint_io

    file = next((f for n in ("last.ckpt", "best.ckpt") if (f := folder.checkpoints / n).is_file()), None)
    return records.read_dataset_info(checkpoint_io.read_checkpoint(file), str(file)).num_classes if file else 10


def label_entropy(counts: Sequence[int], noise: float) -> float:
    """The entropy of training labels, in nats: of the numbers of images of each class, and a share of uniform noise."""
    shares = [(1 - noise) * n / max(sum(counts), 1) + noise / len(counts) for n in counts]
    return -sum(share * math.log(share) for share in shares if share)


def compute_features(
    metrics: Metrics, result: Mapping[str, Any], config: Config, classes: int, counts: Sequence[int] = ()
) -> Features:
    """The features of a run from its metrics.csv, its result and its configuration.

    `counts`: the number of training images of each class; without them, all classes count as equally frequent.
    """

    def column(key: str) -> list[float]:
        return metrics.values(key).tolist()

    val, train, gap = column("val/loss"), column("train_clean/loss"), column("gap/acc")
    n, rates, losses = len(val), column("lr"), train_mode_losses(metrics)
    last_epoch = [loss for epoch, loss in losses if epoch == losses[-1][0]]
    strengths = {name: config.run.strength * relative_strength(r) for name, r in config.regularizer.items()}
    strongest = max(strengths, key=lambda name: strengths[name], default="")
    third = max(3, math.ceil(n / 3))
    end = final_median(val)
    return Features(
        classes=classes,
        chance_loss=label_entropy(counts or [1] * classes, config.data.label_noise),
        failed=result.get("status") == "failed" and result.get("error_type") == NonFiniteLossError.__name__,
        epochs=n,
        max_epochs=config.trainer.max_epochs,
        rate_left=ratio(rates[-1], max(rates)) if rates else NAN,
        train_acc=final_median(column("train_clean/acc")),
        train_loss=final_median(train),
        train_mode_loss=ratio(sum(last_epoch), len(last_epoch)),
        gap_acc=final_median(gap),
        gap_loss=final_median(column("gap/loss")),
        gap_slope=100 * slope(gap[-third:]),
        best=(val.index(min(val)) + 1) / n if n else NAN,
        rise=ratio(end, min(val)) - 1 if val else NAN,
        falling=-slope([math.log(max(v, 1e-12)) for v in train[-third:]]),
        spike=max((loss for _, loss in losses), default=NAN) / math.log(classes),
        relative_strength=strengths.get(strongest, 0.0),
        relative_lr=config.optim.lr / type(config.optim).model_fields["lr"].default,
        temperature=float(result.get("temperature", NAN)),
        strongest_technique=strongest,
    )


def final_median(values: Sequence[float]) -> float:
    """The median of the last three epochs, since the last one alone is noisy at a high rate; NaN if there is none."""
    return statistics.median(values[-3:]) if values else NAN


def train_mode_losses(metrics: Metrics) -> list[tuple[int, float]]:
    """Epoch and training loss minus penalties, of each log point."""
    penalties = np.zeros(metrics.num_rows)
    for key in metrics.columns:
        if key.startswith("train/penalty/"):
            penalties[metrics.rows(key)] += metrics.values(key)
    losses = metrics.values("train/loss") - penalties[metrics.rows("train/loss")]
    return list(zip(metrics.epochs("train/loss").tolist(), losses.tolist(), strict=True))


def ratio(part: float, whole: float) -> float:
    """The ratio part / whole, or NaN if the whole is 0."""
    return part / whole if whole else NAN


def slope(values: Sequence[float]) -> float:
    """The least-squares slope per index; NaN for fewer than two values, or if one is not finite."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return NAN
    return statistics.linear_regression(range(len(values)), values).slope


def relative_strength(technique: Regularizer) -> float:
    """The largest ratio of a strength of this technique to its class's default; 1 if it has no strength."""
    defaults = {name: peak(type(technique).model_fields[name].default) for name in technique.strength_fields}
    return max((peak(getattr(technique, name)) / value for name, value in defaults.items() if value), default=1.0)
