"""Class weights (King & Zeng 2001, Political Analysis 9:137; for networks: Cui et al., 2019, arXiv:1901.05555): the loss of an
image is multiplied by the weight of its class.

    L_i = w_y · ℓ(z_i, t_i)     w_k ∝ n_k^−power     Σ_k n_k w_k = Σ_k n_k

n_k is the number of training images of class k, and y is the class with the largest target. So the weights do not depend on
label smoothing, and a mixed image has the weight of the class of which it shows most. Over the training images, the mean weight
is 1: the learning rate keeps its meaning. At power 1, all classes have the same total weight. The largest weights belong to the
fewest images, so the gradient is noisier than with `balanced_sampling`.
"""

from typing import ClassVar

from torch import Tensor

from regulo.core.ranges import Share
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import soft_cross_entropy
from regulo.regularizers.components.balance import BalancingTechnique


def class_weights(class_counts: Tensor, power: float) -> Tensor:
    """W (K,) from the number of training images of each class (K,). A class without images gets the weight of one with one."""
    weights = class_counts.clamp(min=1) ** -power
    return weights * (class_counts.sum() / (class_counts * weights).sum())


class ClassWeights(BalancingTechnique):
    """Give images of rare classes more weight in the loss."""

    reference: ClassVar[str] = "King & Zeng 2001; arXiv:1901.05555"
    strength_fields: ClassVar[tuple[str, ...]] = ("power",)
    search_space: ClassVar[SearchSpace] = SearchSpace(0.3, {"power": Between(0.3, 1.0)}, condition="imbalanced classes")

    power: Rampable[Share] = 1.0
    """0: all images have the same weight; 1: all classes have the same total weight; .5 is halfway (square root)"""

    def criterion(self, logits: Tensor, targets: Tensor, class_counts: Tensor) -> Tensor:
        return class_weights(class_counts, self.power)[targets.argmax(1)] * soft_cross_entropy(logits, targets)
