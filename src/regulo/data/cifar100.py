"""CIFAR-100 (Krizhevsky, 2009): 50,000 + 10,000 color images of 100 kinds of things."""

from typing import ClassVar

from regulo.data.cifar10 import Cifar10


class Cifar100(Cifar10):
    """Color images (32 × 32) of 100 kinds of things, read by torchvision, which downloads them once and verifies checksums."""

    torchvision_name: ClassVar[str] = "CIFAR100"
