"""Binary cross-entropy, one yes-or-no decision per class (Wightman et al., 2021, arXiv:2110.00476, section 2.2).

    L = −1/K Σ_k [t_k log σ(z_k) + (1 − t_k) log(1 − σ(z_k))]

The targets t stay soft by default. With a threshold, every class that an image was mixed from gets the target 1. That is the loss
of the paper and of timm; it removes λ and label smoothing. The mean over classes makes gradients about K times smaller than
those of cross-entropy. Adam and LAMB do not notice this, SGD does.

Validation and test still use the softmax: val/loss is −log softmax(z)_y as in every other run, so that runs can be compared.
Logits that were trained as K separate decisions are not scaled for the softmax, so this loss is often higher than the accuracy
suggests. monitor=val/acc is not affected.
"""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from regulo.core.ranges import ProperShare
from regulo.core.search_space import SearchSpace
from regulo.regularizers.base import Regularizer


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """L of each image, the mean over classes: logits (B, K) and targets (B, K) in [0, 1] → (B,)."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)


class BCE(Regularizer):
    """Decide for each class separately whether the image shows it."""

    reference: ClassVar[str] = "arXiv:2110.00476"
    # named only: its validation loss is not comparable with that of others
    search_space: ClassVar[SearchSpace] = SearchSpace()

    threshold: ProperShare | None = None
    """targets above it become 1, all others 0: .2 in RSB A1 to A3, 0 in DeiT-III; null: they stay soft"""

    def criterion(self, logits: Tensor, targets: Tensor, class_counts: Tensor) -> Tensor:
        if self.threshold is not None:
            targets = (targets > self.threshold).to(targets.dtype)
        return binary_cross_entropy(logits, targets)
