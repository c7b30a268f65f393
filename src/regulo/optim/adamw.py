"""Adam (Kingma & Ba, 2015, arXiv:1412.6980) with decoupled weight decay: AdamW (arXiv:1711.05101, algorithm 2).

    m ← β₁ m + (1 − β₁) ∇L;  v ← β₂ v + (1 − β₂) ∇L²;  θ ← (1 − ηλ) θ − η m̂ / (√v̂ + ε)

m̂ and v̂ are m and v divided by 1 − β₁ᵗ and 1 − β₂ᵗ at step t.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch

from regulo.core.ranges import Positive
from regulo.optim.base import AdamOptimizer
from regulo.optim.components.common_lr import CommonLr
from regulo.optim.components.param_groups import ParamGroup


class AdamW(AdamOptimizer):
    """torch's Adam. Each parameter group defines whether its decay is decoupled (AdamW) or l2 (the original Adam)."""

    reference: ClassVar[str] = "torch.optim.Adam"

    lr: Positive = 1e-3
    """η, the highest learning rate of the run"""

    def common_lr(self) -> CommonLr:
        return CommonLr(low=1e-5, typical=2e-3, high=1.2e-2, fine_tuning=1e-3, power=0.5)

    def build(self, groups: Sequence[ParamGroup], fused: bool) -> torch.optim.Optimizer:
        options = self.torch_groups(groups)
        return torch.optim.Adam(options, lr=self.lr, betas=self.betas, eps=self.eps, fused=fused)
