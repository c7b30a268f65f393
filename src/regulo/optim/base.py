"""The base class of all optimizers, and the learning-rate schedules, which are plain arrays."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field

from regulo.core.ranges import Positive, ProperShare
from regulo.core.registry import PluginConfig
from regulo.core.search_space import SearchSpace, Times
from regulo.optim.components.common_lr import CommonLr
from regulo.optim.components.param_groups import ParamGroup


class OptimizerConfig(PluginConfig):
    """The config of an optimizer and its schedule. Weight decay is a regularizer; the parameter groups bring it here."""

    search_space: ClassVar[SearchSpace] = SearchSpace(fields={"lr": Times(0.2, 5)})
    """what a search tries; weight decay is a technique"""
    averages_weights: ClassVar[bool] = True
    """whether decoupled decay is θ ← (1 − ηλ) θ, so that weights are an average over about the last 1 / (ηλ) steps"""

    lr: Positive = 0.1
    """η, the highest learning rate of the run"""
    lr_base_batch: Annotated[int, Field(ge=1)] | None = None
    """images per step, over all devices, for which lr is meant: other batch sizes get lr · batch / lr_base_batch, the linear
    scaling rule of Goyal et al., 2017, arXiv:1706.02677, section 2.1; null: lr is not scaled"""
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    """shape of the learning rate over the steps of the run, after the warm-up or including it (one_cycle)"""
    warmup: ProperShare = 0.2
    """share of the steps in which the learning rate rises"""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """batches of data.batch_size images on each device whose mean gradient makes one step: a large batch in little memory"""
    grad_clip_norm: Positive | None = None
    """largest norm of the whole gradient; null: no clipping"""

    def for_batch_size(self, batch: int) -> Self:
        """A copy with the learning rate for `batch` images per step."""
        return self.model_copy(update={"lr": self.lr * batch / self.lr_base_batch}) if self.lr_base_batch else self

    def common_lr(self) -> CommonLr | None:
        """The learning rates that are common in practice; None: the doctor says nothing about the rate."""
        return None

    def build(self, groups: Sequence[ParamGroup], fused: bool) -> torch.optim.Optimizer:
        """The torch optimizer over these groups; `fused` where the device has fused kernels."""
        raise NotImplementedError

    def options(self, group: ParamGroup) -> dict[str, Any]:
        """The options of torch's parameter group about decay."""
        return {"weight_decay": group.weight_decay, "decoupled_weight_decay": group.decoupled}

    def torch_groups(self, groups: Sequence[ParamGroup]) -> list[dict[str, Any]]:
        """The groups in torch's format."""
        return [{"params": [m.parameter for m in g.members], "lr": self.lr * g.lr_scale, **self.options(g)} for g in groups]

    def update_groups(self, optimizer: torch.optim.Optimizer, groups: Sequence[ParamGroup]) -> None:
        """Set the decay of `groups`, which have the members with which the optimizer was built."""
        for torch_group, group in zip(optimizer.param_groups, groups, strict=True):
            torch_group.update(self.options(group))

    def lr_factors(self, steps: int) -> np.ndarray:
        """The learning rate of each step, as a share of `lr`: (steps,) in [0, 1]."""
        return SCHEDULES[self.schedule](steps, self.warmup)


class AdamOptimizer(OptimizerConfig):
    """The config of an optimizer with running means of the gradient (β₁) and of its square (β₂)."""

    beta1: ProperShare = 0.9
    """β₁, the decay of the running mean of the gradient"""
    beta2: ProperShare = 0.999
    """β₂, the decay of the running mean of its square"""
    eps: Positive = 1e-8
    """ε, added to the square root"""

    @property
    def betas(self) -> tuple[float, float]:
        """(β₁, β₂), torch's `betas`."""
        return self.beta1, self.beta2


def _cosine_between(start: float, end: float, steps: int, endpoint: bool) -> np.ndarray:
    t = np.linspace(0, 1, steps, endpoint=endpoint)
    return end + (start - end) * (1 + np.cos(np.pi * t)) / 2


def one_cycle(steps: int, warmup: float) -> np.ndarray:
    """Up from 1/25 and down to 1/250,000 by half cosines (Smith & Topin, 2018, arXiv:1708.07120; torch's OneCycleLR)."""
    peak = max(warmup * steps - 1, 0)
    step = np.arange(steps)
    up = 1 + (1 / 25 - 1) * (1 + np.cos(np.pi * step / max(peak, 1e-9))) / 2
    down = 4e-6 + (1 - 4e-6) * (1 + np.cos(np.pi * (step - peak) / max(steps - 1 - peak, 1))) / 2
    return np.where(step <= peak, up if peak else 1.0, down)


def cosine(steps: int, warmup: float) -> np.ndarray:
    """Linear rise, then a half cosine to zero (Loshchilov & Hutter, 2017, arXiv:1608.03983, one period)."""
    rise = int(warmup * steps)
    return np.concatenate([np.arange(1, rise + 1) / max(rise, 1), _cosine_between(1, 0, steps - rise, endpoint=False)])


def constant(steps: int, warmup: float) -> np.ndarray:
    """Linear rise, then flat."""
    rise = int(warmup * steps)
    return np.concatenate([np.arange(1, rise + 1) / max(rise, 1), np.ones(steps - rise)])


SCHEDULES = {"one_cycle": one_cycle, "cosine": cosine, "constant": constant}
