"""Manifold mixup (Verma et al., 2019, arXiv:1806.05236, section 2): mix the hidden states of a layer
that is drawn for each batch.

    λ ~ Beta(α, α),  k ~ U{0, …, L};  h_k ← λ h_k,i + (1 − λ) h_k,j;  ỹ = λ y_i + (1 − λ) y_j

h₀ is the image, h_k the whole hidden state after block k. j is the partner of image i in the batch.
"""

from typing import ClassVar

import numpy as np
import torch
from pydantic import PrivateAttr
from torch import Tensor, nn

from regulo.core.ranges import NonNegative
from regulo.core.schedule import Rampable, RampBuffer
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import require_sites
from regulo.regularizers.components.beta_mixing import BetaMixing
from regulo.regularizers.components.mixing import blend, partners


class PartnerWeight(RampBuffer):
    """1 − λ. Each step begins with 0, so that a mixer does nothing when another technique mixes the batch."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def update(self, progress: float) -> None:
        """Reset to 0, at any progress in [0, 1]."""
        self.value.fill_(0.0)


class Mixer(nn.Module):
    """h ← λ h_i + (1 − λ) h_j in training, of hidden states (B, …); at λ = 1 exactly the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.partner_weight = PartnerWeight()

    def forward(self, h: Tensor) -> Tensor:
        return torch.lerp(h, partners(h, "batch"), self.partner_weight.value.to(h.dtype)) if self.training else h


class ManifoldMixup(BetaMixing):
    """Mix the images, or the output of a random block, and the targets, with those of another image of the batch."""

    reference: ClassVar[str] = "arXiv:1806.05236"
    search_space: ClassVar[SearchSpace] = SearchSpace(0.1, {"alpha": Between(0.2, 2.0, log=True), "p": Between(0.2, 1.0)})

    alpha: Rampable[NonNegative] = 2.0
    """α of λ ~ Beta(α, α), 0 mixes nothing: 2 on CIFAR with long runs, .2 on ImageNet"""

    _mixers: tuple[Mixer, ...] = PrivateAttr(default=())  # modules of the model, from input to output

    def surgery(self, model: nn.Module, dataset_info: DatasetInfo) -> "ManifoldMixup | None":
        if not self.p:
            return None
        trunk = require_sites(model, "trunk", "regularizer.manifold_mixup")
        technique = self.model_copy()
        technique._mixers = tuple(Mixer() for _ in trunk)
        for site, mixer in zip(trunk, technique._mixers, strict=True):
            site.insert(mixer)
        return technique

    def mix(self, images: Tensor, targets: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        lam = self.draw_lambda(generator)
        layer = int(generator.integers(len(self._mixers) + 1))
        for k, mixer in enumerate(self._mixers, start=1):
            mixer.partner_weight.value.fill_(1 - float(lam[0]) if lam is not None and k == layer else 0.0)
        if lam is None:
            return images, targets
        return blend(images, lam) if layer == 0 else images, blend(targets, lam)
