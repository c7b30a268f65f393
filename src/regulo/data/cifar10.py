"""CIFAR-10 (Krizhevsky, 2009, "Learning multiple layers of features from tiny images"): 50,000 + 10,000 colour images."""

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from regulo.core.paths import Place, expanded
from regulo.core.types import Facts, Split
from regulo.data.base import DataSet, Splits, may_download, missing, moments, stratified


class Cifar10(DataSet):
    """Colour 32 × 32 images of 10 kinds of things, by torchvision, which downloads them once and verifies checksums."""

    source: ClassVar[str] = "Krizhevsky 2009"
    torchvision_name: ClassVar[str] = "CIFAR10"

    root: Place | None = "data"
    """folder of torchvision's copy, or where to download it to"""
    val_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """share of the training set that is held out for validation, stratified by class, the same in every run"""

    def splits(self) -> Splits:
        official = self._open(train=True)
        train = Split(official.data, np.asarray(official.targets, np.int64))
        rest, held = stratified(train.labels, self.val_fraction, seed=0)
        official_test = self._open(train=False)
        test = Split(official_test.data, np.asarray(official_test.targets, np.int64))
        fitted = train.take(rest)
        mean, std = moments(np.asarray(fitted.images))
        return Splits(fitted, train.take(held), test, Facts(3, 32, 32, tuple(official.classes), mean, std))

    def _open(self, train: bool) -> Any:
        from torchvision import datasets

        try:
            return getattr(datasets, self.torchvision_name)(expanded(self.root or "data"), train=train, download=may_download())
        except (OSError, RuntimeError) as error:
            what = f"{self.torchvision_name} is not in {self.root} and cannot be had: {error}"
            raise missing("data.root", what, "place torchvision's copy there, or use data=fashion_mnist_mini") from error
