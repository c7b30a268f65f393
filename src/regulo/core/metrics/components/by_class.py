"""Precision, recall and F1 of each class, from a confusion matrix (K, K) of counts: rows are labels, columns are predictions.

A class without images in the split has no recall and no F1 (NaN), so that means over the classes leave it out. A class that is
never predicted has no precision.
"""

from torch import Tensor


def recall(matrix: Tensor) -> Tensor:
    """The share of the images of each class that are predicted right (K,)."""
    return matrix.diagonal() / matrix.sum(1)


def precision(matrix: Tensor) -> Tensor:
    """The share of the predictions of each class that are right (K,)."""
    return matrix.diagonal() / matrix.sum(0)


def f1(matrix: Tensor) -> Tensor:
    """The harmonic mean of precision and recall of each class (K,); 0 if the class has images and none is predicted right."""
    scores = 2 * matrix.diagonal() / (matrix.sum(0) + matrix.sum(1))
    return scores.where(matrix.sum(1) > 0, float("nan"))
