"""CIFAR-10 (Krizhevsky, 2009, "Learning multiple layers of features from tiny images"): 50,000 + 10,000 color images."""

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from regulo.core.paths import PathStr, expand_path
from regulo.core.types import DatasetInfo, Split
from regulo.data.base import DatasetConfig, Splits, channel_mean_std, data_error, may_download
from regulo.data.components.subsets import stratified_split


class Cifar10(DatasetConfig):
    """Color images (32 × 32) of 10 kinds of things, read by torchvision, which downloads them once and verifies checksums."""

    reference: ClassVar[str] = "Krizhevsky 2009"
    torchvision_name: ClassVar[str] = "CIFAR10"

    root: PathStr | None = PathStr("data")
    """folder with torchvision's copy, or to which it is downloaded"""
    val_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """share of the training set that is held out for validation, stratified by class, the same in every run"""

    def splits(self) -> Splits:
        official_train = self._open(train=True)
        train = Split(official_train.data, np.asarray(official_train.targets, np.int64))
        train_indices, val_indices = stratified_split(train.labels, self.val_fraction, seed=0)
        official_test = self._open(train=False)
        test = Split(official_test.data, np.asarray(official_test.targets, np.int64))
        train, val = train.select(train_indices), train.select(val_indices)
        mean, std = channel_mean_std(np.asarray(train.images))
        return Splits(train, val, test, DatasetInfo(3, 32, 32, tuple(official_train.classes), mean, std))

    def _open(self, train: bool) -> Any:
        from torchvision import datasets

        try:
            return getattr(datasets, self.torchvision_name)(
                expand_path(self.root or "data"), train=train, download=may_download()
            )
        except (OSError, RuntimeError) as error:
            what = f"{self.torchvision_name} is not in {self.root} and cannot be downloaded: {error}"
            raise data_error("data.root", what, "put torchvision's copy there, or use data=fashion_mnist_mini") from error
