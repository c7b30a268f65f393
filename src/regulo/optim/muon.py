"""Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon): steps of weight matrices are made orthogonal. Adam for the rest.

    m ← μ m + (1 − μ) ∇L;  u = (1 − μ) ∇L + μ m;  θ ← (1 − ηλ) θ − η · 0.2 √max(A, B) · UVᵀ

UVᵀ is nearly the orthogonal factor of u = U S Vᵀ, an (A, B) matrix, by five Newton–Schulz steps. The kernels of a convolution are
flattened to (C_out, C_in · k · k). The factor 0.2 √max(A, B) gives the step the size of one of Adam (Liu et al., 2025,
arXiv:2502.16982, equation 4), so that both have one learning rate.

Muon is for the weight matrices inside of the blocks of a model. Its first and last layers, embeddings and vectors get Adam.
It is own code: `torch.optim.Muon` takes matrices only. A test holds that both do the same.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from regulo.core.ranges import Positive, ProperShare
from regulo.optim.base import AdamOptimizer
from regulo.optim.components.adam import adam_direction, split_decay
from regulo.optim.components.closure import run_closure
from regulo.optim.components.common_lr import CommonLr
from regulo.optim.components.param_groups import NamedParameter, ParamGroup

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""of the quintic polynomial; the slope at zero is as high as it may be"""


class Muon(AdamOptimizer):
    """Orthogonal steps for the weight matrices of the blocks, and Adam for all other parameters."""

    reference: ClassVar[str] = "kellerjordan.github.io/posts/muon"

    lr: Positive = 5e-3
    """η, the highest learning rate of the run, for the matrices and for Adam"""
    momentum: ProperShare = 0.95
    """μ of the matrices, in Nesterov's form"""
    steps: Annotated[int, Field(ge=1, le=20)] = 5
    """Newton–Schulz steps"""

    def common_lr(self) -> CommonLr:
        return CommonLr(low=1e-4, typical=5e-3, high=4e-2, fine_tuning=1e-3, power=0.5)

    def build(self, groups: Sequence[ParamGroup], fused: bool) -> torch.optim.Optimizer:
        last = max((member.layer for group in groups for member in group.members), default=0)
        options = self.torch_groups(groups)
        for torch_group, group in zip(options, groups, strict=True):
            torch_group["is_matrix"] = [is_hidden_matrix(member, last) for member in group.members]
        defaults = {"lr": self.lr, "momentum": self.momentum, "steps": self.steps, "betas": self.betas, "eps": self.eps}
        return MuonAndAdam(options, defaults)


def is_hidden_matrix(member: NamedParameter, last_layer: int) -> bool:
    """Whether Muon is meant for a parameter: a weight of at least two dimensions inside of a block."""
    return member.parameter.ndim >= 2 and 0 < member.layer < last_layer


class MuonAndAdam(torch.optim.Optimizer):
    """One optimizer for both, in torch operations that never wait for the device."""

    def step(self, closure: Any = None) -> Any:
        """One step with the gradients from the closure."""
        loss = run_closure(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for parameter, is_matrix in zip(group["params"], group["is_matrix"], strict=True):
                    if parameter.grad is not None:
                        self._update(parameter, group, is_matrix)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any], is_matrix: bool) -> None:
        gradient, decay = split_decay(parameter, group)
        if is_matrix:
            update = orthogonal_direction(gradient, self.state[parameter], group)
        else:
            update = adam_direction(parameter, gradient, self.state[parameter], group)
        if decay:
            parameter.mul_(1 - group["lr"] * decay)
        parameter.add_(update, alpha=-group["lr"])


def orthogonal_direction(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """0.2 √max(A, B) · UVᵀ after one more gradient, in its shape; `state` of the parameter is begun, and changed."""
    if not state:
        state["momentum"] = torch.zeros_like(gradient)
    mean = state["momentum"].lerp_(gradient, 1 - group["momentum"])
    matrix = gradient.lerp(mean, group["momentum"]).flatten(1)
    factor = 0.2 * math.sqrt(max(matrix.shape))
    return orthogonalize(matrix, group["steps"]).mul_(factor).view_as(gradient)


def orthogonalize(matrix: Tensor, steps: int) -> Tensor:
    """A matrix (A, B) with the singular vectors of this one, and singular values between about 0.7 and 1.2.

    It is computed in bfloat16 on GPUs, and in the precision of the matrix elsewhere.
    """
    a, b, c = COEFFICIENTS
    x = matrix.bfloat16() if matrix.is_cuda else matrix
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if is_tall else x).to(matrix.dtype)
