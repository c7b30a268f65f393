"""Binary cross-entropy, one yes-or-no question per class (Wightman et al., 2021, arXiv:2110.00476, section 2.2).

    L = −1/K Σ_k [t_k log σ(z_k) + (1 − t_k) log(1 − σ(z_k))]

The targets t stay soft, unless a threshold makes every class that an image was mixed from a yes. That is the paper's loss (and
timm's), and it erases λ and label smoothing: nothing does so unless it is asked for. The mean over classes makes
gradients about K times smaller than those of cross-entropy, which Adam and LAMB do not notice, and SGD does.

What is validated, scored and tested remains the softmax: val/loss is −log softmax(z)_y as for every other run, so that runs
can be compared. Logits that were trained as K separate questions are not scaled for it, so that this loss tends to lie higher
than the accuracy suggests; monitor=val/acc does not mind.
"""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from regulo.core.ranges import ProperShare
from regulo.regularizers.base import Regularizer


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean over classes, for each image: (B, K) logits and targets in [0, 1] → (B,)."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)


class BCE(Regularizer):
    """Ask of every class by itself whether it is there."""

    reference: ClassVar[str] = "arXiv:2110.00476"

    threshold: ProperShare | None = None
    """targets above it become 1 and all others 0: .2 in RSB A1 to A3, 0 in DeiT-III; null: they stay soft"""

    def criterion(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.threshold is not None:
            targets = (targets > self.threshold).to(targets.dtype)
        return binary_cross_entropy(logits, targets)
