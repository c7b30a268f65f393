"""After training: the regime of a run, the evidence for it, and what to try next."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from regulo.analysis.doctor.features import Features, read_features
from regulo.config.overrides import Overrides, make_command
from regulo.config.schema import Config
from regulo.config.validate import read_run_config
from regulo.core.errors import InputError, Problem
from regulo.tracking.records import Metrics
from regulo.tracking.run_dir import RunFolder

REGIMES = ("fits", "underfits", "overfits", "over-regularized", "unstable", "stopped too early")


@dataclass(frozen=True)
class Thresholds:
    """The bounds between regimes; set on the calibration half of the runs of scripts/regimes.py."""

    spike: float = 1.5
    """training losses above 1.5 ln K are worse than guessing: the steps are so large that they destroy what was learned"""
    exploded: float = 2.0
    """a clean training loss above 2 ln K, far worse than guessing: the weights, or the statistics of BatchNorm, have exploded"""
    learned: float = 0.95
    """a network with a training loss above this share of the loss of guessing has learned nothing, so it cannot overfit"""
    gap: float = 0.06
    """6 points more accuracy on clean training images than on validation images: above the noise of 1,000 of each (± 2.5)"""
    rise: float = 0.25
    """a validation loss 25% above its lowest value, while the training loss is low, means confidence in wrong predictions"""
    gap_loss: float = 0.15
    """nats between validation and training loss; with less, a rise is not overfitting"""
    short: float = 0.9
    """a run of less than 90% of its epochs was stopped"""
    rate_left: float = 0.3
    """a learning rate above 30% of its peak is not annealed yet"""
    falling: float = 0.03
    """a training loss that falls by 3% per epoch has not converged"""
    unlearned: float = 0.2
    """a clean training loss above 20% of the loss of guessing: the training images are not learned"""
    burden: float = 0.25
    """a loss that is higher in training mode than on clean images by 25% of the loss of guessing: the plan makes training hard"""
    relative_strength: float = 3.0
    """three times a technique's default strength"""
    relative_lr: float = 30.0
    """30 times an optimizer's default learning rate: if such a run learns nothing, the rate is the cause"""


THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class RunVerdict:
    """What the curves of one run say."""

    regime: str
    """one of REGIMES"""
    evidence: tuple[str, ...]
    """sentences with the numbers"""
    next: tuple[str, ...]
    """commands worth trying"""


def give_verdict(folder: RunFolder, metrics: Metrics | None = None) -> RunVerdict:
    """The verdict on a run. Raises InputError if it finished no epoch, or its configuration is no longer valid.

    `metrics`: its metrics.csv, if that has been read already.
    """
    config, features = read_run_config(folder), read_features(folder, metrics)
    regime = classify(features)
    if not features.epochs and regime != "unstable":
        raise InputError(Problem("RUN", f"{folder.path} finished no epoch: there is nothing to judge"))
    return RunVerdict(regime, tuple(list_evidence(features, regime)), tuple(suggest_commands(regime, config)))


def classify(f: Features, t: Thresholds = THRESHOLDS) -> str:
    """One of REGIMES. What was not measured is NaN: comparisons with it are false, so it decides nothing."""
    if f.failed:
        return "unstable"
    if (
        f.relative_strength > t.relative_strength and f.unlearned > t.unlearned
    ):  # also if the loss spikes: the strength is the cause
        return "over-regularized"
    if f.spike > t.spike or is_exploded(f, t) or (f.relative_lr > t.relative_lr and f.unlearned > t.unlearned):
        return "unstable"
    rises = f.rise > t.rise and f.gap_loss > t.gap_loss and f.unlearned < t.unlearned
    if rises or (f.gap_acc > t.gap and f.unlearned < t.learned):
        return "overfits"
    if f.epochs < t.short * f.max_epochs and (f.rate_left > t.rate_left or f.falling > t.falling):
        return "stopped too early"
    if f.unlearned > t.unlearned:
        return "over-regularized" if f.burden > t.burden else "underfits"
    return "fits"


def is_exploded(f: Features, t: Thresholds = THRESHOLDS) -> bool:
    """Whether the network is confident in wrong predictions on the images that it was trained on."""
    return f.train_loss > t.exploded * math.log(f.classes)


def list_evidence(f: Features, regime: str) -> Iterator[str]:
    """Sentences with the numbers that support the regime, the most important first."""
    if f.failed:
        yield f"the loss was not finite after {f.epochs} complete epochs"
    if f.spike > THRESHOLDS.spike:
        yield f"the training loss rose to {f.spike * math.log(f.classes):.3g} nats, {f.spike:.3g} times that of a new network"
    if f.epochs < f.max_epochs and not f.failed:
        yield f"it ended after {f.epochs} of {f.max_epochs} epochs, with the learning rate at {f.rate_left:.0%} of its peak"
    if f.epochs == 0:
        return
    if is_exploded(f):
        yield f"the loss on clean training images is {f.unlearned:.3g} times that of guessing: the weights have exploded"
    yield f"clean training images: {f.train_acc:.1%} right, loss {f.train_loss:.3f} ({f.unlearned:.0%} of that of guessing)"
    gap = f"gap: {100 * f.gap_acc:.1f} points of accuracy, {f.gap_loss:.3f} nats"
    yield gap + (f"; {f.gap_slope:+.2f} points per epoch over the last third" if math.isfinite(f.gap_slope) else "")
    yield f"the validation loss was lowest {f.best:.0%} into the run, and ended {f.rise:.0%} above that"
    if math.isfinite(f.train_mode_loss):
        difference = f"{'higher' if f.burden >= 0 else 'lower'} by {abs(f.burden):.0%} of that of guessing"
        yield f"in training mode the loss ended at {f.train_mode_loss:.3f}, {difference}"
    if regime != "fits" and math.isfinite(f.falling):
        yield f"the clean training loss changed by {-f.falling:+.1%} per epoch over the last third"
    if f.relative_lr > THRESHOLDS.relative_lr:
        yield f"the learning rate is {f.relative_lr:.3g} times the usual one"
    if f.relative_strength > THRESHOLDS.relative_strength:
        yield f"{f.strongest_technique} is at {f.relative_strength:.3g} times its usual strength"
    if math.isfinite(f.temperature):
        sign = "overconfident" if f.temperature > 1 else "underconfident"
        yield f"its predictions are {sign}: a temperature of {f.temperature:.2f} would calibrate them"


def suggest_commands(regime: str, config: Config) -> Iterator[str]:
    """What to try next: commands that repeat the run with a change."""
    for changes in SUGGESTIONS[regime](config):
        yield make_command([*repeat_overrides(config), *changes])


def repeat_overrides(config: Config) -> list[str]:
    """Overrides that repeat the run, without what a run finds out for itself, such as its precision."""
    measured_keys = {"trainer.precision", "trainer.memory_format", "trainer.compile", "data.device"}
    return [w for w in Overrides.from_config(config).to_args() if w.partition("=")[0] not in measured_keys]


Changes = Iterator[list[str]]


def suggest_more_regularization(config: Config) -> Changes:
    """Against overfitting: more regularization, more data, clean labels."""
    if config.run.strength == 0:
        yield ["strength=1"]
    elif any(r.strength_fields for r in config.regularizer.values()) and config.run.strength <= 5:
        yield [f"strength={2 * config.run.strength:g}"]
    new = [n for n in ("augment", "weight_decay", "mixup", "early_stopping") if n not in config.regularizer]
    if "swa" in config.regularizer:
        new = [n for n in new if n != "early_stopping"]
    if new:
        yield [f"+regularizer=[{','.join(new)}]" if len(new) > 1 else f"+regularizer={new[0]}"]
    if config.data.max_train_images is not None:
        yield ["data.max_train_images=null"]
    if config.data.label_noise:
        yield ["data.label_noise=0"]


def suggest_more_training(config: Config) -> Changes:
    """Against underfitting: more steps, larger ones, a larger model."""
    yield [f"trainer.max_epochs={2 * config.trainer.max_epochs}"]
    yield [f"optim.lr={3 * config.optim.lr:g}"]
    if (width := getattr(config.model, "width", None)) is not None:
        yield [f"model.width={2 * width}"]


def suggest_less_regularization(config: Config) -> Changes:
    """Against over-regularization: half the strength, more steps."""
    if config.run.strength:
        yield [f"strength={config.run.strength / 2:g}"]
    yield [f"trainer.max_epochs={2 * config.trainer.max_epochs}"]


def suggest_smaller_steps(config: Config) -> Changes:
    """Against instability: a lower rate, gradient clipping, warmup."""
    yield [f"optim.lr={config.optim.lr / 3:.2g}"]
    if config.optim.grad_clip_norm is None:
        yield ["optim.grad_clip_norm=1"]
    if config.optim.warmup < 0.1:
        yield ["optim.warmup=0.1"]


def suggest_later_stop(config: Config) -> Changes:
    """Against an early end: a longer patience, or no early stopping."""
    if "early_stopping" in config.regularizer:
        yield [f"regularizer.early_stopping.patience={max(2, config.trainer.max_epochs // 2)}", *reset_min_delta(config)]
        yield ["~regularizer.early_stopping"]
    else:
        yield []  # the same run again, without an interruption


def reset_min_delta(config: Config) -> list[str]:
    """Overrides with which early stopping counts every improvement."""
    stopping = config.regularizer["early_stopping"]
    return ["regularizer.early_stopping.min_delta=0"] if getattr(stopping, "min_delta", 0) else []


def suggest_confirmation(config: Config) -> Changes:
    """After a good run: another seed, to see whether it was luck, and half the strength, to see whether that is enough."""
    yield [f"seed={config.run.seed + 1}"]
    if config.regularizer and config.run.strength:
        yield [f"strength={config.run.strength / 2:g}"]


SUGGESTIONS: dict[str, Callable[[Config], Changes]] = {
    "fits": suggest_confirmation,
    "underfits": suggest_more_training,
    "overfits": suggest_more_regularization,
    "over-regularized": suggest_less_regularization,
    "unstable": suggest_smaller_steps,
    "stopped too early": suggest_later_stop,
}
