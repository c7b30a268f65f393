"""AugMix (Hendrycks et al., 2020, arXiv:1912.02781): a convex mixture of chains of operations, and answers that agree on it.

    x̃ = m x + (1 − m) Σ_i w_i chain_i(x),   w ~ Dirichlet(α, …, α),  m ~ Beta(α, α)
    L = ℓ(f(x), y) + λ · JS(p; p̃₁; p̃₂),     JS = ⅓ Σ_v KL(p_v ‖ M),  M = ⅓ Σ_v p_v

With the Jensen–Shannon term a step sees three views of each image, the clean one and two mixtures, and costs three times as
much; the loss of the data is that of the clean view. Without it the mixture takes the place of the image.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from regulo.core.ranges import NonNegative, Positive
from regulo.core.schedule import Rampable
from regulo.core.types import DatasetInfo, LossInputs
from regulo.regularizers.base import Regularizer

ONE_VIEW = "it acts on one of the three views, which then no longer show the same image"


class AugMix(Regularizer):
    """Mix augmented copies of an image with itself, and ask for the same answer on all of its views."""

    reference: ClassVar[str] = "arXiv:1912.02781; torchvision v2.AugMix"
    tags: ClassVar[frozenset[str]] = frozenset({"augments"})
    order: ClassVar[int] = 100  # the views must see what all other transforms made of the image
    incompatible: ClassVar[dict[str, str]] = dict.fromkeys(
        ("mixup", "cutmix", "resizemix", "manifold_mixup", "random_erasing"), ONE_VIEW
    )

    severity: Annotated[int, Field(ge=1, le=10)] = 3
    """strength of the operations: 3 on CIFAR, 1 on ImageNet"""
    width: Annotated[int, Field(ge=1, le=10)] = 3
    """chains that are mixed"""
    depth: Annotated[int, Field(ge=1, le=10)] | None = None
    """operations of a chain; null: 1 to 3, drawn for each"""
    alpha: Rampable[Positive] = 1.0
    """α of the weights of the chains and of the image; a larger one mixes more evenly"""
    jsd: Rampable[NonNegative] = 12.0
    """λ, the weight of the Jensen–Shannon term: 12 in the paper"""
    views: bool = True
    """the loss on the clean image and the Jensen–Shannon term of three views; false: train on one mixture alone"""

    def with_strength(self, strength: float) -> "AugMix | None":
        """Severity (at least 1, whose operations still act) and λ are multiplied; strength 0 is absence."""
        if strength in (0, 1):
            return self if strength else None
        jsd = self.jsd * strength if isinstance(self.jsd, float) else self.jsd.scale(strength, float("inf"))
        severity = min(max(round(self.severity * strength), 1), 10)
        return self.model_copy(update={"severity": severity, "jsd": jsd})

    def transform(self, pipeline: list[Any], facts: DatasetInfo) -> list[Any]:
        from torchvision.transforms import v2

        from regulo.data.components.torchvision_adapter import TorchvisionTransform

        # the paper leaves out the operations that the corruptions of its benchmark resemble
        mixture = v2.AugMix(self.severity, self.width, self.depth or -1, self.alpha, all_ops=False)
        return [*pipeline, TorchvisionTransform(Views(mixture) if self.views else mixture)]

    def penalty(self, step: LossInputs) -> Tensor:
        return self.jsd * jensen_shannon(step.views)  # 0 of a single view


class Views:
    """An image (C, H, W) and two draws of a transform, stacked in the channels."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __call__(self, image: Tensor) -> Tensor:
        return torch.cat([image, self.transform(image), self.transform(image)])


def jensen_shannon(views: Sequence[Tensor]) -> Tensor:
    """The mean KL divergence of the views' distributions from their mixture, over the batch, from logits (B, K) each."""
    logs = torch.stack([v.float().log_softmax(1) for v in views])
    p = logs.exp()
    mixture = p.mean(0).clamp(1e-7, 1).log()
    return (p * (logs - mixture)).sum(-1).mean()
