"""CIFAR-100 (Krizhevsky, 2009): 50,000 + 10,000 colour images of 100 kinds of things."""

from typing import ClassVar

from regulo.data.cifar10 import Cifar10


class Cifar100(Cifar10):
    """Colour 32 × 32 images of 100 kinds of things, by torchvision, which downloads them once and verifies checksums."""

    torchvision_name: ClassVar[str] = "CIFAR100"
