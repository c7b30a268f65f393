"""A run in small, for tests of any technique: data, the task's own forward pass, and an optimizer, without a trainer."""

import functools
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from regulo.config import compose
from regulo.core import registry, yaml_files
from regulo.core.errors import InputError
from regulo.core.rng import StepContext
from regulo.core.schedule import Ramp, RampBuffer, peak
from regulo.core.types import DatasetInfo, Split
from regulo.data.components.dataset import BatchedImages
from regulo.models.components.classifier import Classifier
from regulo.models.components.sites import RateSite
from regulo.optim.sgd import SGD
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.plan import Plan
from regulo.training.module import compute_loss
from tests.conftest import build_model, rng


@functools.cache
def configured_values(name: str) -> dict[str, Any]:
    """What configs/regularizer/<name>.yaml says."""
    content: Any = OmegaConf.to_container(OmegaConf.load(yaml_files.find_option("regularizer", name)))
    assert set(content) == {name}
    return content[name]


def technique(name: str, **fields: Any) -> Regularizer:
    """As its YAML has it."""
    return registry.get_plugin("regularizer", name).model_validate(configured_values(name) | fields)


def highest(name: str, field: str) -> Any:
    """The value of a field in its YAML; of a ramp, the highest."""
    value = getattr(technique(name), field)
    return peak(value) if isinstance(value, Ramp) else value


def rampable(name: str) -> list[str]:
    """Its fields that may be ramps."""
    return [f for f, info in registry.get_plugin("regularizer", name).model_fields.items() if "Ramp[" in str(info.annotation)]


@functools.cache
def list_required(name: str) -> list[str]:
    """What it needs beside it, and what that needs."""
    if not registry.get_plugin("regularizer", name).requires:
        return []
    return [n for need in compose.required_techniques(name) for n in (*list_required(need), need)]


def company(*names: str, **fields: Any) -> list[Regularizer]:
    """Techniques with what they need; the fields are those of the last one."""
    whole = dict.fromkeys(n for name in names for n in (*list_required(name), name))
    return [technique(n, **(fields if n == names[-1] else {})) for n in whole]


def try_surgery(plan: Plan, model: nn.Module, dataset_info: DatasetInfo) -> nn.Module | None:
    """The model after surgery, or nothing if a technique of the plan refuses it by its own name."""
    try:
        plan.surgery(model, dataset_info)
        plan.param_groups(model)
        return model
    except InputError as refusal:
        if not any(p.key.startswith(f"regularizer.{r.name}") for p in refusal.problems for r in plan.regularizers):
            raise
        return None


def dials_of(model: nn.Module) -> list[Any]:
    return [m for m in model.modules() if isinstance(m, RampBuffer | RateSite)]


def images_and_labels(dataset_info: DatasetInfo, n: int) -> Split:
    images = rng().integers(0, 256, (n, dataset_info.height, dataset_info.width, dataset_info.channels), dtype="uint8")
    return Split(images, np.arange(n) % dataset_info.num_classes)


def train(plan: Plan, model: nn.Module, dataset_info: DatasetInfo, steps: int = 2, size: int = 8) -> list[Tensor]:
    """A few steps with SGD on a model after surgery. Returns all that a technique could change, in flow order."""
    classifier = Classifier(model, dataset_info, "contiguous").train()
    split, at = images_and_labels(dataset_info, size), [StepContext(0)]
    class_counts = torch.bincount(torch.from_numpy(split.labels), minlength=dataset_info.num_classes).float()
    base = SGD(lr=0.05)
    optimizer = plan.wrap_optimizer(base.build(plan.param_groups(model), fused=False), model, lambda: at[0])
    tensors: list[Tensor] = []
    for step in range(steps):
        now = at[0] = StepContext(0, step=step, progress=step / steps)
        data = BatchedImages(split, plan.transforms([], dataset_info, now.progress), seed=0)
        batch = data.__getitems__(
            [(step, int(i), copy) for copy, i in enumerate(plan.sequence(np.arange(size), step, split.labels, 0))]
        )
        for dial in dials_of(model):
            dial.update(now.progress)
        if plan.groups_change:
            base.update_groups(optimizer, plan.param_groups(model, now.progress))
        torch.manual_seed(step)

        def closure(batch: Any = batch, now: StepContext = now) -> Tensor:
            optimizer.zero_grad()
            output = compute_loss(classifier, plan, batch, class_counts, now)
            output.loss.backward()
            tensors.extend(t.detach().clone() for t in (output.images, output.targets, output.logits, output.loss))
            return output.loss

        optimizer.step(closure)
    return [*tensors, *(v.detach().clone() for v in model.state_dict().values())]


def family(plan: Plan, dataset_info: DatasetInfo) -> tuple[str, nn.Module]:
    """The first small model that all techniques of the plan accept, by name and after surgery."""
    for name in ("resnet_small", "vit_tiny"):
        model = try_surgery(plan, build_model(name, dataset_info), dataset_info)
        if model is not None:
            return name, model
    raise AssertionError(f"no model accepts {', '.join(r.name for r in plan.regularizers)}")
