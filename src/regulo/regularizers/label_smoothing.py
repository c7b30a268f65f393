"""Label smoothing (Szegedy et al., 2016, arXiv:1512.00567, section 7):  ỹ = (1 − ε) y + ε / K.

It is linear, so it may follow mixing without changing what either does. The validation loss is never smoothed.
"""

from typing import ClassVar

import numpy as np
from torch import Tensor

from regulo.core.ranges import ProperShare
from regulo.core.schedule import Rampable
from regulo.regularizers.base import Regularizer


class LabelSmoothing(Regularizer):
    """Give every class ε / K of the target mass."""

    reference: ClassVar[str] = "arXiv:1512.00567"
    order: ClassVar[int] = 10

    strength_fields: ClassVar[tuple[str, ...]] = ("epsilon",)

    epsilon: Rampable[ProperShare] = 0.1
    """ε, the share of the mass that is spread evenly"""

    def mix(self, images: Tensor, targets: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        return images, targets.mul(1 - self.epsilon).add_(self.epsilon / targets.shape[1])
