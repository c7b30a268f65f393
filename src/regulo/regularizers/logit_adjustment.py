"""Logit adjustment (Menon et al., 2021, arXiv:2007.07314, equation 10): train on logits that include the prior of the classes.

    L = −Σ_k t_k log softmax(z + τ log π)_k     π_k = n_k / Σ_j n_j

n_k is the number of training images of class k. At τ = 1, z + log π learns the probabilities under the training data, so z alone
learns those under classes of equal size. The final predictions are softmax(z): nothing is added in validation and testing.
"""

from typing import ClassVar

from torch import Tensor

from regulo.core.ranges import NonNegative
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import soft_cross_entropy
from regulo.regularizers.components.balance import BalancingTechnique


def log_prior(class_counts: Tensor) -> Tensor:
    """Log π (K,) from the number of training images of each class (K,). A class without images has the prior of one with one."""
    return (class_counts.clamp(min=1) / class_counts.sum()).log()


class LogitAdjustment(BalancingTechnique):
    """Add the log of the class frequencies to the logits of the training loss, so that the logits alone suit equal classes."""

    reference: ClassVar[str] = "arXiv:2007.07314"
    strength_fields: ClassVar[tuple[str, ...]] = ("tau",)
    search_space: ClassVar[SearchSpace] = SearchSpace(0.4, {"tau": Between(0.3, 1.5)}, condition="imbalanced classes")

    tau: Rampable[NonNegative] = 1.0
    """τ, the weight of the log prior: 0 is cross-entropy, 1 suits classes of equal size, larger values prefer rare classes"""

    def criterion(self, logits: Tensor, targets: Tensor, class_counts: Tensor) -> Tensor:
        return soft_cross_entropy(logits + self.tau * log_prior(class_counts), targets)
