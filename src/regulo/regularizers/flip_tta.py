"""Test-time augmentation by flips: the final prediction is that for the image and for its mirror image.

    p̄ = (softmax(f(x)) + softmax(f(mirror(x)))) / 2

Only for classes that a mirror does not change: not for digits, text or traffic signs. It acts on the final predictions (the last
scores of the run, `evaluate`, `predict`, `export`), not on the validation during the run, and doubles the cost of inference.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from regulo.core.search_space import SearchSpace
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.entropy import mean_prediction


class FlipTTA(Regularizer):
    """Average the final predictions over each image and its mirror image."""

    reference: ClassVar[str] = "arXiv:1409.1556, section 3.2"
    search_space: ClassVar[SearchSpace] = SearchSpace(why_not="it changes the predictions of a finished run, not the training")

    def infer(self, model: nn.Module, images: Tensor) -> dict[str, Tensor]:
        views = (images, images.flip(3))
        return {"logits": mean_prediction(torch.stack([model(view).float().log_softmax(1) for view in views]))}
