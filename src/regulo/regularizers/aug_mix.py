"""AugMix (Hendrycks et al., 2020, arXiv:1912.02781): a convex mixture of chains of operations, and predictions
that agree on it.

    x̃ = m x + (1 − m) Σ_i w_i chain_i(x),   w ~ Dirichlet(α, …, α),  m ~ Beta(α, α)
    L = ℓ(f(x), y) + λ · JS(p; p̃₁; p̃₂),     JS = ⅓ Σ_v KL(p_v ‖ M),  M = ⅓ Σ_v p_v

With the Jensen–Shannon term a step uses three views of each image, the clean one and two mixtures, and costs three times as
much. The data loss is the one of the clean view. Without the term, one mixture replaces the image.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from regulo.core.ranges import NonNegative, Positive
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import DatasetInfo, LossInputs
from regulo.regularizers.base import Regularizer

ONE_VIEW = "it changes one of the three views, which then no longer show the same image"


def jensen_shannon(views: Sequence[Tensor]) -> Tensor:
    """JS of V views, as a mean over the batch, in nats: logits (B, K) of each view → ()."""
    log_p = torch.stack([v.float().log_softmax(1) for v in views])  # (V, B, K)
    p = log_p.exp()
    log_mixture = p.mean(0).clamp(1e-7, 1).log()
    return (p * (log_p - log_mixture)).sum(-1).mean()


class AugMix(Regularizer):
    """Mix augmented copies of an image with the image, and ask for the same prediction on all of its views."""

    reference: ClassVar[str] = "arXiv:1912.02781; torchvision v2.AugMix"
    tags: ClassVar[frozenset[str]] = frozenset({"augments"})
    order: ClassVar[int] = 100  # last: the views are made from the output of all other transforms
    incompatible: ClassVar[dict[str, str]] = dict.fromkeys(
        ("mixup", "cutmix", "resizemix", "manifold_mixup", "random_erasing"), ONE_VIEW
    )
    search_space: ClassVar[SearchSpace] = SearchSpace(0.05, {"severity": Between(1, 5)})

    severity: Annotated[int, Field(ge=1, le=10)] = 3
    """strength of the operations: 3 on CIFAR, 1 on ImageNet"""
    width: Annotated[int, Field(ge=1, le=10)] = 3
    """number of chains that are mixed"""
    depth: Annotated[int, Field(ge=1, le=10)] | None = None
    """operations in a chain; null: 1 to 3, drawn for each chain"""
    alpha: Rampable[Positive] = 1.0
    """α of the weights of the chains and of the image; a larger α mixes more evenly"""
    jsd: Rampable[NonNegative] = 12.0
    """λ, the weight of the Jensen–Shannon term: 12 in the paper"""
    views: bool = True
    """true: the loss on the clean image and the Jensen–Shannon term of three views; false: train on one mixture only"""

    def with_strength(self, strength: float) -> "AugMix | None":
        """Severity (at least 1, which still changes images) and λ are multiplied; strength 0 is absence."""
        if strength in (0, 1):
            return self if strength else None
        jsd = self.jsd * strength if isinstance(self.jsd, float) else self.jsd.scale(strength, float("inf"))
        severity = min(max(round(self.severity * strength), 1), 10)
        return self.model_copy(update={"severity": severity, "jsd": jsd})

    def transform(self, pipeline: list[Any], dataset_info: DatasetInfo) -> list[Any]:
        from torchvision.transforms import v2

        from regulo.data.components.torchvision_adapter import TorchvisionTransform

        # the paper leaves out the operations that resemble the corruptions of its benchmark
        mixture = v2.AugMix(self.severity, self.width, self.depth or -1, self.alpha, all_ops=False)
        return [*pipeline, TorchvisionTransform(StackViews(mixture) if self.views else mixture)]

    def penalty(self, inputs: LossInputs) -> Tensor:
        return self.jsd * jensen_shannon(inputs.views)  # 0 for a single view


class StackViews:
    """An image (C, H, W) → the image and two draws of a transform of it, stacked in the channels (3·C, H, W)."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __call__(self, image: Tensor) -> Tensor:
        return torch.cat([image, self.transform(image), self.transform(image)])
