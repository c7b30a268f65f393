"""Classes of very different sizes: what the start of a run says about them, and the remedies."""

import math
from collections.abc import Sequence

from regulo.config.schema import Config, monitors
from regulo.core import registry
from regulo.regularizers.components.plan import find_conflicts, find_providers

IMBALANCE = "imbalanced classes"
"""the beginning of the note"""
MAX_RATIO = 10
"""training images of the largest class for each of the smallest, above which a run says so"""


def imbalance(class_counts: Sequence[int]) -> float:
    """Training images of the largest class for each one of the smallest; infinity if that has none."""
    return max(class_counts) / min(class_counts) if min(class_counts) else math.inf


def describe_imbalance(class_counts: Sequence[int], classes: Sequence[str]) -> str:
    """Which classes of train are the largest and the smallest, with their numbers of images."""
    largest, smallest = (pick(range(len(classes)), key=class_counts.__getitem__) for pick in (max, min))
    sizes = [f"{classes[k]} has {class_counts[k]:,}" for k in (largest, smallest)]
    ratio = f" ({imbalance(class_counts):.0f} : 1)" if min(class_counts) else ""
    return f"{IMBALANCE}: of the training images, {sizes[0]} and {sizes[1]}{ratio}"


def remedies(config: Config) -> list[str]:
    """The names of the techniques for imbalanced classes that the plan takes; none if it has one, or if none is installed."""
    plan = list(config.regularizer.values())
    if any("balances" in r.tags for r in plan):
        return []
    candidates = {name: registry.get_plugin("regularizer", name)() for name in find_providers("balances")}
    return [name for name, r in candidates.items() if not find_conflicts([*plan, r], config.trainer.run_conditions())]


def better_monitor(config: Config) -> str:
    """The override for a monitor in which all classes count the same; empty if the run has one."""
    return "" if monitors()[config.run.monitor].balanced else "monitor=val/balanced_acc"


def imbalance_note(config: Config, class_counts: Sequence[int], classes: Sequence[str]) -> str:
    """A line for people if the classes of train differ by more than 10 : 1, with what may help; empty otherwise."""
    if imbalance(class_counts) <= MAX_RATIO:
        return ""
    options = " or ".join(f"+regularizer={name}" for name in remedies(config))
    advice = " with ".join(filter(None, [options, better_monitor(config)]))
    return describe_imbalance(class_counts, classes) + (f"; try {advice}" if advice else "")
