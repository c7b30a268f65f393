"""After training: which regime a run was in, by what evidence, and what to try next."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from regulo.analysis.doctor.features import Features, read
from regulo.config.overrides import Overrides, make_command
from regulo.config.schema import Config
from regulo.config.validate import validate_config
from regulo.core.errors import InputError, Problem
from regulo.tracking.run_dir import RunFolder

REGIMES = ("fits", "underfits", "overfits", "over-regularized", "unstable", "stopped too early")


@dataclass(frozen=True)
class Thresholds:
    """Where one regime ends and the next begins; set on the calibration half of the runs of scripts/regimes.py."""

    spike: float = 1.5
    """losses in training mode above 1.5 ln K are worse than guessing: steps throw the weights about"""
    learned: float = 0.95
    """a network with more than this share of the loss of guessing has learned nothing that it could have learned by heart"""
    gap: float = 0.06
    """6% more right on clean training images than on validation ones: above the noise of a thousand of each (±2.5%)"""
    rise: float = 0.25
    """a validation loss a quarter above its lowest, while the training loss is low, is confidence in wrong answers"""
    gap_loss: float = 0.15
    """nats between both losses, without which a rise is no overfitting"""
    short: float = 0.9
    """a run of less than nine tenths of its epochs was stopped"""
    rate_left: float = 0.3
    """a rate above three tenths of its peak has not been annealed yet"""
    falling: float = 0.03
    """a training loss that falls by 3% per epoch has not arrived"""
    unlearned: float = 0.2
    """a fifth of the loss of guessing left on clean training images: they are not learned"""
    burden: float = 0.25
    """a quarter of the loss of guessing more in training mode than on clean images: the plan makes training that much harder"""
    dose: float = 3.0
    """three times a technique's usual strength"""
    pace: float = 30.0
    """thirty times an optimizer's usual learning rate: a run that then learns nothing does so because of it"""


THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class Verdict:
    """What a run's own curves say."""

    regime: str
    """one of REGIMES"""
    evidence: tuple[str, ...]
    """sentences with the numbers"""
    next: tuple[str, ...]
    """commands worth trying"""


def give_verdict(folder: RunFolder) -> Verdict:
    """The verdict on a run that trained. Raises InputError if it finished no epoch, or its configuration is no longer valid."""
    config, seen = validate_config(folder.read_config()), read(folder)
    regime = classify(seen)
    if not seen.epochs and regime != "unstable":
        raise InputError(Problem("RUN", f"{folder.path} finished no epoch: there is nothing to judge"))
    return Verdict(regime, tuple(evidence(seen, regime)), tuple(commands(regime, config)))


def classify(f: Features, t: Thresholds = THRESHOLDS) -> str:
    """The regime. A comparison with what was not measured is false, so that it decides nothing."""
    if f.failed:
        return "unstable"
    if f.relative_strength > t.dose and f.unlearned > t.unlearned:  # even if its steps throw the weights about: the dose does it
        return "over-regularized"
    if f.spike > t.spike or (f.relative_lr > t.pace and f.unlearned > t.unlearned):
        return "unstable"
    rises = f.rise > t.rise and f.gap_loss > t.gap_loss and f.unlearned < t.unlearned
    if rises or (f.gap_acc > t.gap and f.unlearned < t.learned):
        return "overfits"
    if f.epochs < t.short * f.planned and (f.rate_left > t.rate_left or f.falling > t.falling):
        return "stopped too early"
    if f.unlearned > t.unlearned:
        return "over-regularized" if f.burden > t.burden else "underfits"
    return "fits"


def evidence(f: Features, regime: str) -> Iterator[str]:
    """The numbers behind the regime, those that matter most for it first."""
    if f.failed:
        yield f"the loss was not finite after {f.epochs} whole epochs"
    if f.spike > THRESHOLDS.spike:
        yield f"the training loss rose to {f.spike * f.chance:.3g} nats, {f.spike:.3g} times that of guessing"
    if f.epochs < f.planned and not f.failed:
        yield f"it ended after {f.epochs} of {f.planned} epochs, with the rate at {f.rate_left:.0%} of its peak"
    if f.epochs == 0:
        return
    yield f"clean training images: {f.train_acc:.1%} right, loss {f.train_loss:.3f} ({f.unlearned:.0%} of that of guessing)"
    gap = f"gap: {100 * f.gap_acc:.1f} points of accuracy, {f.gap_loss:.3f} nats"
    yield gap + (f"; {f.gap_slope:+.2f} points per epoch over the last third" if math.isfinite(f.gap_slope) else "")
    yield f"the validation loss was lowest {f.best:.0%} into the run, and ended {f.rise:.0%} above that"
    if math.isfinite(f.drawn_loss):
        yield f"in training mode the loss ended at {f.drawn_loss:.3f}, which is more by {f.burden:.0%} of that of guessing"
    if regime != "fits" and math.isfinite(f.falling):
        yield f"the clean training loss changed by {-f.falling:+.1%} per epoch over the last third"
    if f.relative_lr > THRESHOLDS.pace:
        yield f"the learning rate is {f.relative_lr:.3g} times the usual one"
    if f.relative_strength > THRESHOLDS.dose:
        yield f"a technique is at {f.relative_strength:.3g} times its usual strength"
    if math.isfinite(f.temperature):
        sign = "overconfident" if f.temperature > 1 else "underconfident"
        yield f"its answers are {sign}: a temperature of {f.temperature:.2f} would calibrate them"


def commands(regime: str, config: Config) -> Iterator[str]:
    """What to try next, each the run's own command line with a change behind it."""
    for changes in NEXT[regime](config):
        yield make_command([*same(config), *changes])


def same(config: Config) -> list[str]:
    """Overrides that repeat the run, apart from the measured precision and format."""
    measured = {"trainer.precision", "trainer.memory_format"}
    return [w for w in Overrides.from_config(config).to_args() if w.partition("=")[0] not in measured]


Changes = Iterator[list[str]]


def more(config: Config) -> Changes:
    """Against overfitting."""
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


def longer(config: Config) -> Changes:
    """Against underfitting: more steps, larger ones, a larger model."""
    yield [f"trainer.max_epochs={2 * config.trainer.max_epochs}"]
    yield [f"optim.lr={3 * config.optim.lr:g}"]
    if (width := getattr(config.model, "width", None)) is not None:
        yield [f"model.width={2 * width}"]


def less(config: Config) -> Changes:
    """Against over-regularization."""
    if config.run.strength:
        yield [f"strength={config.run.strength / 2:g}"]
    yield [f"trainer.max_epochs={2 * config.trainer.max_epochs}"]


def calmer(config: Config) -> Changes:
    """Against instability."""
    yield [f"optim.lr={config.optim.lr / 3:.2g}"]
    if config.optim.grad_clip_norm is None:
        yield ["optim.grad_clip_norm=1"]
    if config.optim.warmup < 0.1:
        yield ["optim.warmup=0.1"]


def patient(config: Config) -> Changes:
    """Against an early end."""
    if "early_stopping" in config.regularizer:
        yield [f"regularizer.early_stopping.patience={max(2, config.trainer.max_epochs // 2)}", *undemanding(config)]
        yield ["~regularizer.early_stopping"]
    else:
        yield []  # the same again, to its end


def undemanding(config: Config) -> list[str]:
    """Every improvement counts."""
    stopping = config.regularizer["early_stopping"]
    return ["regularizer.early_stopping.min_delta=0"] if getattr(stopping, "min_delta", 0) else []


def onward(config: Config) -> Changes:
    """From a good place: is it luck, and is half as much enough?"""
    yield [f"seed={config.run.seed + 1}"]
    if config.regularizer and config.run.strength:
        yield [f"strength={config.run.strength / 2:g}"]


NEXT: dict[str, Callable[[Config], Changes]] = {
    "fits": onward,
    "underfits": longer,
    "overfits": more,
    "over-regularized": less,
    "unstable": calmer,
    "stopped too early": patient,
}
