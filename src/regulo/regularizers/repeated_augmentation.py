"""Repeated augmentation (Hoffer et al., 2020, arXiv:1901.09335; Berman et al., 2019, arXiv:1902.05509).

A batch holds several copies of an image, each augmented differently: their gradients share the image and differ in the
augmentation, whose variance so becomes less. The epoch stays as long as it was, and visits 1 / `repeats` of the images.
"""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from regulo.regularizers.base import Regularizer


class RepeatedAugmentation(Regularizer):
    """Visit each image several times in a row; on several devices the copies are dealt out among them."""

    reference: ClassVar[str] = "arXiv:1901.09335; arXiv:1902.05509"
    requires: ClassVar[dict[str, str]] = {"augments": "would show the network the very same pixels several times"}

    repeats: Annotated[int, Field(ge=1, le=100)] = 3
    """copies of each image, 1 is none: 3 for DeiT, 2 to 32 in the paper"""

    def sequence(self, places: np.ndarray) -> np.ndarray:
        return np.repeat(places, self.repeats)[: len(places)]
