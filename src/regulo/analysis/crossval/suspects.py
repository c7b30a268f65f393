"""Images whose labels may be wrong, by confident learning (Northcutt et al., 2021, arXiv:1911.00068)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Suspect:
    """An image whose label may be wrong."""

    index: int
    suggestion: int
    """the class that it more likely has"""
    self_confidence: float
    """the out-of-fold probability of its label"""


def find_suspects(labels: np.ndarray, probabilities: np.ndarray) -> list[Suspect]:
    """The images that confidently belong to another class than their label says, the least probable labels first.

    labels: (n,); probabilities: (n, K), out of fold. An image confidently belongs to the classes j with p_j ≥ t_j, where t_j is
    the mean p_j of the images with the label j (the mean self-confidence of the class); of several, to the most probable one.
    Images whose label is their most probable class are left out, as cleanlab does.
    """
    n, num_classes = probabilities.shape
    thresholds = np.array([probabilities[labels == j, j].mean() if (labels == j).any() else np.inf for j in range(num_classes)])
    confident = np.where(probabilities >= thresholds, probabilities, -np.inf)
    classes = confident.argmax(1)
    self_confidence = probabilities[np.arange(n), labels]
    is_suspect = np.isfinite(confident.max(1)) & (classes != labels) & (probabilities.argmax(1) != labels)
    ranking = sorted(np.flatnonzero(is_suspect), key=lambda i: self_confidence[i])
    return [Suspect(int(i), int(classes[i]), float(self_confidence[i])) for i in ranking]
