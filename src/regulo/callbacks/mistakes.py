"""The worst mistakes: wrongly classified test images with the lowest probability of the true class."""

from typing import Annotated

import torch
from pydantic import Field

from regulo.callbacks.base import CallbackConfig, FigureContext
from regulo.core.figures import new_figure
from regulo.core.metrics.base import EvalOutput
from regulo.core.types import Split


class Mistakes(CallbackConfig):
    """Wrong predictions with the highest loss; many of them show wrong labels."""

    count: Annotated[int, Field(ge=1, le=64)] = 16
    """number of images"""

    def after_evaluation(self, context: FigureContext, test: EvalOutput, split: Split) -> None:
        indices = worst(test, self.count)
        if not indices:
            return
        log_p = test.logits.log_softmax(1)
        columns = min(8, len(indices))
        rows = -(-len(indices) // columns)
        figure = new_figure(1.5 * columns, 2.0 * rows)
        names = context.dataset_info.classes
        for ax, i in zip(figure.subplots(rows, columns, squeeze=False).flat, indices, strict=False):
            image = split.images[i]
            ax.imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=255)
            p, k = torch.exp(log_p[i]).max(0)
            ax.set_title(f"{names[int(test.labels[i])]}\n→ {names[int(k)]} {p:.2f}", fontsize=7)
        for ax in figure.axes:
            ax.axis("off")
        context.save_figure("mistakes", figure)


def worst(test: EvalOutput, count: int) -> list[int]:
    """Indices of at most `count` wrong predictions, the lowest probability of the true class first."""
    wrong = (test.logits.argmax(1) != test.labels).nonzero().flatten()
    log_p = test.logits.log_softmax(1)[wrong, test.labels[wrong]]
    return wrong[log_p.argsort()[:count]].tolist()
