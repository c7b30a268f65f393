"""What the techniques for classes of different sizes share. Each of them corrects all of the imbalance at full strength."""

from typing import ClassVar

from regulo.regularizers.base import Regularizer


class BalancingTechnique(Regularizer):
    """A technique with which rare classes count more. Two of them together would correct the same imbalance twice."""

    tags: ClassVar[frozenset[str]] = frozenset({"balances"})
    incompatible: ClassVar[dict[str, str]] = {
        "balances": "each of them corrects the imbalance of the classes, and together they would correct it twice"
    }
