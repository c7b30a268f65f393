"""What a rule is: it checks a run and reports what it finds, why that is bad, and which overrides fix it."""

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import nn

from regulo.config.schema import Config
from regulo.core.schedule import peak
from regulo.core.types import DatasetInfo
from regulo.data.base import images_per_step
from regulo.data.components.copies import find_copies
from regulo.data.components.file_images import FileImages
from regulo.models.components.norms import NORMS
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.plan import Plan

if TYPE_CHECKING:
    from regulo.data.components.datamodule import ImageDataModule

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""error: `regulo train` refuses it; warning: it will probably cost accuracy or time; note: worth knowing"""


@dataclasses.dataclass(frozen=True)
class RuleFinding:
    """One thing that is wrong with a run, or worth knowing."""

    severity: Severity
    key: str
    """the config key that it is about, as on the command line"""
    what: str
    """what is wrong, with the numbers"""
    why: str
    reference: str
    fix: tuple[str, ...] = ()
    """overrides that, all appended to those of the run, fix it; empty: no override does"""


@dataclasses.dataclass(frozen=True)
class RunCase:
    """A run that could be started, and what rules need to know about it."""

    config: Config
    plan: Plan
    """the techniques at the run's strength"""
    model: nn.Module
    """the model after the plan's surgery"""
    dataset_info: DatasetInfo
    class_counts: tuple[int, ...]
    """training images of each class"""
    num_val: int
    """validation images"""
    num_test: int
    """test images"""
    num_leaks: int = 0
    """images of val and test whose content is also in train or val"""
    difference: float | None = None
    """the difference of accuracies, in [0, 1], that the user wants to resolve on validation; None: not given"""

    @classmethod
    def of(cls, config: Config, difference: float | None = None) -> "RunCase":
        """Open the data and build the model, without checking all files or downloading weights.

        Raises InputError if training would refuse the run.
        """
        from regulo.evaluation.restore import without_input_checks
        from regulo.training.build import build_components

        config, _ = config.take_input_of_weights()
        # one CPU process, so that any machine can examine a run that is meant for another one
        on_cpu = config.trainer.model_copy(update={"accelerator": "cpu", "devices": 1, "strategy": "auto"})
        components = build_components(dataclasses.replace(without_input_checks(config), trainer=on_cpu))
        data = components.data
        return cls(
            config,
            components.plan,
            components.model,
            data.dataset_info,
            class_counts=tuple(data.class_counts()),
            num_val=len(data.eval_datasets["val"]),
            num_test=len(data.eval_datasets["test"]),
            num_leaks=_count_leaks(data),
            difference=difference,
        )

    # ---- sizes

    @property
    def num_train(self) -> int:
        """Training images."""
        return sum(self.class_counts)

    @property
    def world_size(self) -> int:
        """Processes that train together."""
        return max(1, self.config.trainer.world_size())

    @property
    def global_batch_size(self) -> int:
        """Images per step, summed over all processes."""
        return images_per_step(self.config.data.batch_size, self.num_train, self.world_size)

    @property
    def epochs(self) -> int:
        """Epochs that the configuration asks for."""
        return self.config.trainer.max_epochs

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        return min(self.num_train // self.global_batch_size, self.config.trainer.limit_batches or self.num_train)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.steps_per_epoch * self.epochs

    @property
    def is_smoke_test(self) -> bool:
        """Whether the run is cut to a few batches on purpose, to try the stages and not to learn."""
        return self.config.trainer.limit_batches is not None

    # ---- the plan

    def technique(self, name: str) -> Any:
        """The technique at the run's strength, or None if the plan does not have it."""
        return next((r for r in self.plan.regularizers if r.name == name), None)

    @property
    def mixing(self) -> list[Regularizer]:
        """The active techniques that mix images of a batch."""
        return [r for r in self.plan.regularizers if r.one_of == "mixing" and all(peak(getattr(r, f, 1)) for f in ("p", "alpha"))]

    def config_value(self, strength: float) -> str:
        """The config value that gives `strength` when it is multiplied by the run's strength, to two digits."""
        return f"{strength / (self.config.run.strength or 1):.2g}"

    # ---- the model

    @functools.cached_property
    def site_kinds(self) -> frozenset[str]:
        """The kinds of sites that the model has."""
        from regulo.models.components.sites import KINDS, find_sites

        return frozenset(kind for kind in KINDS if find_sites(self.model, kind))

    @property
    def is_transformer(self) -> bool:
        """Whether the model has attention layers."""
        return "attention" in self.site_kinds

    def has_layer(self, *layers: type[nn.Module]) -> bool:
        """Whether the model has a layer of one of these classes."""
        return any(isinstance(m, layers) for m in self.model.modules())

    @property
    def has_norm(self) -> bool:
        """Whether the model has a normalization layer."""
        return self.has_layer(*NORMS)

    @property
    def pretrained(self) -> bool:
        """Whether training starts from pretrained weights."""
        return getattr(self.config.model, "weights", None) is not None


def _count_leaks(data: "ImageDataModule") -> int:
    splits = {"train": data.train_dataset.split} | {name: data.eval_datasets[name].split for name in ("val", "test")}
    paths = {name: split.images.paths for name, split in splits.items() if isinstance(split.images, FileImages)}
    return find_copies(paths, {name: split.labels for name, split in splits.items()}).count_leaks()


class Rule(ABC):
    """One rule: one file in `rules/` with one class, whose docstring says what it looks for."""

    why: ClassVar[str]
    reference: ClassVar[str]
    """the paper and section, or the part of this project that shows it"""

    @abstractmethod
    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        """Yield what is wrong with this run."""

    def warning(self, key: str, what: str, *fix: str) -> RuleFinding:
        """A finding that will probably cost accuracy or time."""
        return RuleFinding("warning", key, what, self.why, self.reference, fix)

    def note(self, key: str, what: str, *fix: str) -> RuleFinding:
        """A finding that is worth knowing."""
        return RuleFinding("note", key, what, self.why, self.reference, fix)
