"""What a run's curves say, in a few numbers: a pure function of metrics.csv, result.json and the configuration."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regulo.config.schema import Config
from regulo.config.validate import validate_config
from regulo.regularizers.base import Regularizer
from regulo.tracking import records
from regulo.tracking.run_dir import RunFolder

NAN = float("nan")
Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Features:
    """Losses are mean NLLs in nats; accuracies and shares lie in [0, 1]. What a run did not measure is not a number."""

    classes: int
    """K: guessing has an accuracy of 1 / K and a loss of ln K"""
    failed: bool
    """whether a loss was not finite"""
    epochs: int
    """epochs that were finished"""
    planned: int
    rate_left: float
    """the last learning rate, as a share of the highest that was reached"""
    train_acc: float
    """of clean training images, at the end"""
    train_loss: float
    drawn_loss: float
    """the loss of the data in training mode, on what the plan makes of images and targets, in the last epoch"""
    gap_acc: float
    """clean train − validation, at the end"""
    gap_loss: float
    """validation − clean train, at the end"""
    gap_slope: float
    """points of gap/acc per epoch, over the last third of the run"""
    best: float
    """the share of the run at which the validation loss was lowest"""
    rise: float
    """the validation loss at the end over its lowest, less 1"""
    falling: float
    """the share by which the clean training loss fell per epoch in the last third"""
    spike: float
    """the highest loss of the data in training mode over ln K; it begins near 1"""
    relative_strength: float
    """the strength of the plan's strongest technique, as a multiple of what its class has by default"""
    relative_lr: float
    """the learning rate as a multiple of what its optimizer has by default"""
    temperature: float
    """that would calibrate the final answers: above 1 they are overconfident; not a number where none was fitted"""

    @property
    def chance(self) -> float:
        """The loss of guessing, ln K."""
        return math.log(self.classes)

    @property
    def unlearned(self) -> float:
        """The clean training loss as a share of that of guessing."""
        return self.train_loss / self.chance

    @property
    def burden(self) -> float:
        """What the plan adds to the training loss, as a share of that of guessing: it is harder in training mode."""
        return (self.drawn_loss - self.train_loss) / self.chance


def read(folder: RunFolder) -> Features:
    """The features of a run that trained."""
    told = records.read_measures(folder) | records.read_result(folder)
    return features(records.read_metrics(folder), told, validate_config(folder.read_config()), count_classes(folder))


def count_classes(folder: RunFolder) -> int:
    """K, from a checkpoint; 10 where the run did not come so far as to write one (its loss then says enough)."""
    from regulo.tracking import checkpoint_io

    file = next((f for n in ("last.ckpt", "best.ckpt") if (f := folder.checkpoints / n).is_file()), None)
    return records.read_dataset_info(checkpoint_io.read_checkpoint(file), str(file)).num_classes if file else 10


def features(rows: Rows, result: Mapping[str, Any], config: Config, classes: int) -> Features:
    """The features of a run from the rows of its metrics.csv, its result and its configuration."""

    def column(key: str) -> list[float]:
        return [float(row[key]) for row in rows if row.get(key)]

    val, train, gap = column("val/loss"), column("train_clean/loss"), column("gap/acc")
    n, rates, drawn = len(val), column("lr"), data_loss(rows)
    last = [loss for epoch, loss in drawn if epoch == drawn[-1][0]]
    third = max(3, math.ceil(n / 3))
    end = statistics.median(val[-3:]) if val else NAN  # at a high rate, the last epoch alone says little
    return Features(
        classes=classes,
        failed=result.get("status") == "failed" and result.get("error_type") == "NonFiniteLossError",
        epochs=n,
        planned=config.trainer.max_epochs,
        rate_left=ratio(rates[-1], max(rates)) if rates else NAN,
        train_acc=ending(column("train_clean/acc")),
        train_loss=ending(train),
        drawn_loss=ratio(sum(last), len(last)),
        gap_acc=ending(gap),
        gap_loss=ending(column("gap/loss")),
        gap_slope=100 * slope(gap[-third:]),
        best=(val.index(min(val)) + 1) / n if n else NAN,
        rise=ratio(end, min(val)) - 1 if val else NAN,
        falling=-slope([math.log(max(v, 1e-12)) for v in train[-third:]]),
        spike=max((loss for _, loss in drawn), default=NAN) / math.log(classes),
        relative_strength=max((relative_strength(r) for r in config.regularizer.values()), default=0.0) * config.run.strength,
        relative_lr=config.optim.lr / type(config.optim).model_fields["lr"].default,
        temperature=float(result.get("temperature", NAN)),
    )


def ending(values: Sequence[float]) -> float:
    """The median of the last three epochs."""
    return statistics.median(values[-3:]) if values else NAN


def data_loss(rows: Rows) -> list[tuple[int, float]]:
    """Epoch and loss in training mode, less penalties, of each log point."""
    found = []
    for row in rows:
        if row.get("train/loss"):
            penalties = sum(float(v) for k, v in row.items() if k.startswith("train/penalty/") and v)
            found.append((int(row["epoch"]), float(row["train/loss"]) - penalties))
    return found


def ratio(part: float, whole: float) -> float:
    """Not a number, where the whole is nothing."""
    return part / whole if whole else NAN


def slope(values: Sequence[float]) -> float:
    """The slope per place of the least-squares line; not a number for fewer than two values, or infinite ones."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return NAN
    return statistics.linear_regression(range(len(values)), values).slope


def relative_strength(technique: Regularizer) -> float:
    """The largest multiple of its class's default that a strength of this technique is at; 1 if it has none."""
    from regulo.analysis.doctor.base import peak

    usual = {name: peak(type(technique).model_fields[name].default) for name in technique.strength_fields}
    return max((peak(getattr(technique, name)) / value for name, value in usual.items() if value), default=1.0)
