"""What a rule is: it looks at a case, and tells what it finds, why that is bad, and which overrides mend it."""

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from torch import nn

from regulo.config.schema import Config
from regulo.core.schedule import Ramp
from regulo.core.types import DatasetInfo
from regulo.data.base import images_per_step
from regulo.models.components.norms import NORMS
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.plan import Plan

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""error: `regulo train` refuses it; warning: it will probably cost accuracy or time; note: worth knowing"""


@dataclasses.dataclass(frozen=True)
class RuleFinding:
    """One thing that is wrong, or worth knowing."""

    severity: Severity
    key: str
    """what it is about, as the command line knows it"""
    what: str
    """what is so, with the numbers"""
    why: str
    reference: str
    fix: tuple[str, ...] = ()
    """overrides that, all together behind the given ones, mend it; empty: no override does"""


@dataclasses.dataclass(frozen=True)
class RunCase:
    """A run that could be started, and what rules want to know of it."""

    config: Config
    plan: Plan
    """at the run's strength"""
    model: nn.Module
    """with the plan's surgery done"""
    facts: DatasetInfo
    train: int
    """images that are trained on"""
    val: int
    test: int
    difference: float | None = None
    """the difference of accuracies, in [0, 1], that the user wants to resolve on validation; null: not said"""

    @classmethod
    def of(cls, config: Config, difference: float | None = None) -> "RunCase":
        """Open the data and build the model; neither are all files checked nor weights downloaded. Raises InputError."""
        from regulo.evaluation.restore import without_input_checks
        from regulo.training.build import build_components

        alone = config.trainer.model_copy(update={"accelerator": "cpu", "devices": 1, "strategy": "auto"})
        parts = build_components(
            dataclasses.replace(without_input_checks(config), trainer=alone)
        )  # on any machine, whatever the run is for
        val, test = (len(parts.data.eval_datasets[name]) for name in ("val", "test"))
        return cls(config, parts.plan, parts.model, parts.data.facts, len(parts.data.train_dataset), val, test, difference)

    # ---- sizes

    @property
    def devices(self) -> int:
        """Processes that train at once."""
        return max(1, self.config.trainer.world_size())

    @property
    def batch(self) -> int:
        """Images per step, over all devices."""
        return images_per_step(self.config.data.batch_size, self.train, self.devices)

    @property
    def epochs(self) -> int:
        """Epochs that are planned."""
        return self.config.trainer.max_epochs

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return min(self.train // self.batch, self.config.trainer.limit_batches or self.train)

    @property
    def steps(self) -> int:
        """Steps that are planned."""
        return self.steps_per_epoch * self.epochs

    @property
    def tryout(self) -> bool:
        """Whether the run is cut down to a few batches on purpose: it does not want to learn."""
        return self.config.trainer.limit_batches is not None

    # ---- the plan

    def technique(self, name: str) -> Any:
        """The technique as it will act, or None."""
        return next((r for r in self.plan.regularizers if r.name == name), None)

    @property
    def mixing(self) -> list[Regularizer]:
        """The techniques that mix images of a batch."""
        return [r for r in self.plan.regularizers if r.one_of == "mixing" and all(peak(getattr(r, f, 1)) for f in ("p", "alpha"))]

    def written(self, strength: float) -> str:
        """The number to write so that, multiplied by the run's strength, it acts as `strength`, to two digits."""
        return f"{strength / (self.config.run.strength or 1):.2g}"

    # ---- the model

    @functools.cached_property
    def kinds(self) -> frozenset[str]:
        """The kinds of the model's sites."""
        from regulo.models.components.sites import KINDS, find_sites

        return frozenset(kind for kind in KINDS if find_sites(self.model, kind))

    @property
    def transformer(self) -> bool:
        """Whether the model attends."""
        return "attention" in self.kinds

    def has(self, *layers: type[nn.Module]) -> bool:
        """Whether the model has a layer of these kinds."""
        return any(isinstance(m, layers) for m in self.model.modules())

    @property
    def normalised(self) -> bool:
        """Whether any layer normalises."""
        return self.has(*NORMS)

    @property
    def pretrained(self) -> bool:
        """Whether training begins from somebody's weights."""
        return getattr(self.config.model, "weights", None) is not None


def peak(strength: Any) -> float:
    """The highest value of a strength that may be a ramp, or null (0)."""
    return float(max(strength.start, strength.end) if isinstance(strength, Ramp) else strength or 0)


class Rule(ABC):
    """One rule. Its docstring says what it looks for; one file in `rules/` with one class in it is one rule."""

    why: ClassVar[str]
    reference: ClassVar[str]
    """the paper and section, or what in this project says so"""

    @abstractmethod
    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        """What is found in this case."""

    def warning(self, key: str, what: str, *fix: str) -> RuleFinding:
        """A finding that will probably cost something."""
        return RuleFinding("warning", key, what, self.why, self.reference, fix)

    def note(self, key: str, what: str, *fix: str) -> RuleFinding:
        """A finding that is worth knowing."""
        return RuleFinding("note", key, what, self.why, self.reference, fix)
