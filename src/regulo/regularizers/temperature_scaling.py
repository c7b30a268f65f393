"""Temperature scaling (Guo et al., 2017, arXiv:1706.04599, section 4.2): softmax(z / T), with one T for all images.

    T = argmin_T  −Σ_i log softmax(z_i / T)[y_i]  over the validation images

T > 1 reduces overconfidence. The order of the classes does not change, so no accuracy does. The sum is convex in β = 1 / T, and
its slope Σ_i (E_p[z_i] − z_i[y_i]) with p = softmax(β z_i) has one zero. Brent's method finds this zero with more exact digits
than the minimum of the sum, which is flat there.
"""

from typing import ClassVar

from torch import Tensor

from regulo.core.search_space import SearchSpace
from regulo.regularizers.base import Regularizer

LOWEST, HIGHEST = 0.05, 20.0
"""range of T: if all validation predictions are right (wrong), the best T is 0 (infinity)"""


def temperature(logits: Tensor, labels: Tensor) -> float:
    """The T in [.05, 20] with the lowest mean NLL of logits (n, K) for labels (n,); 1 if every T gives the same."""
    from scipy.optimize import brentq

    z = logits.double()
    label_logits = z.gather(1, labels[:, None]).squeeze(1)

    def slope(beta: float) -> float:
        return float((((beta * z).softmax(1) * z).sum(1) - label_logits).mean())

    if slope(1.0) == 0:
        return 1.0
    if slope(1 / HIGHEST) >= 0:
        return HIGHEST
    if slope(1 / LOWEST) <= 0:
        return LOWEST
    return 1 / float(brentq(slope, 1 / HIGHEST, 1 / LOWEST))


class TemperatureScaling(Regularizer):
    """Divide the final logits by the temperature with the lowest NLL on the validation images."""

    reference: ClassVar[str] = "arXiv:1706.04599"
    search_space: ClassVar[SearchSpace] = SearchSpace(why_not="it changes the predictions of a finished run, not the training")

    def calibrate(self, logits: Tensor, labels: Tensor) -> float:
        return temperature(logits, labels)
