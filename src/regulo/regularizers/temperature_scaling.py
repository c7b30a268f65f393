"""Temperature scaling (Guo et al., 2017, arXiv:1706.04599, section 4.2): softmax(z / T), with one T for all images.

    T = argmin_T  −Σ_i log softmax(z_i / T)[y_i]  over the validation images

T > 1 takes back overconfidence. The order of the classes stays, and with it every accuracy. In β = 1 / T the sum is convex:
its slope is Σ_i (E_p[z_i] − z_i[y_i]), its curvature Σ_i Var_p[z_i] ≥ 0 with p = softmax(β z_i), so Newton's method kept
within a bracket finds the one minimum.
"""

import math
from typing import ClassVar

from torch import Tensor

from regulo.regularizers.base import Regularizer

LOWEST, HIGHEST = 0.05, 20.0
"""range of T: validation answers that are all right (all wrong) would want 0 (infinity)"""


class TemperatureScaling(Regularizer):
    """Divide the final logits by the temperature that makes the validation images likeliest."""

    source: ClassVar[str] = "arXiv:1706.04599"

    def calibrate(self, logits: Tensor, labels: Tensor) -> float:
        return temperature(logits, labels)


def temperature(logits: Tensor, labels: Tensor) -> float:
    """The T in [.05, 20] of the lowest mean NLL of logits (n, K) with labels (n,); 1 if every T is as good."""
    z = logits.double()
    right = z.gather(1, labels[:, None]).squeeze(1)
    beta, low, high = 1.0, 1 / HIGHEST, 1 / LOWEST
    for _ in range(100):
        p = (beta * z).softmax(1)
        mean = (p * z).sum(1)
        slope, curvature = float((mean - right).mean()), float((p * (z - mean[:, None]).square()).sum(1).mean())
        if slope == 0:
            break
        low, high = (beta, high) if slope < 0 else (low, beta)
        newton = beta - slope / curvature if curvature > 0 else math.inf
        last, beta = beta, newton if low < newton < high else math.sqrt(low * high)
        if abs(beta - last) <= 1e-12 * beta:
            break
    return min(max(1 / beta, LOWEST), HIGHEST)
