"""The worst mistakes: the test images whose own class got the least probability."""

from typing import Annotated

import torch
from pydantic import Field

from regulo.callbacks.base import CallbackConfig, FigureContext
from regulo.core.figures import new_figure
from regulo.core.metrics import EvalOutput
from regulo.core.types import Split


class Mistakes(CallbackConfig):
    """Wrong answers with the highest loss; often they show wrong labels."""

    count: Annotated[int, Field(ge=1, le=64)] = 16
    """images"""

    def after_evaluation(self, context: FigureContext, test: EvalOutput, split: Split) -> None:
        shown = worst(test, self.count)
        if not shown:
            return
        log_p = test.logits.log_softmax(1)
        columns = min(8, len(shown))
        rows = -(-len(shown) // columns)
        drawing = new_figure(1.5 * columns, 2.0 * rows)
        names = context.facts.classes
        for ax, i in zip(drawing.subplots(rows, columns, squeeze=False).flat, shown, strict=False):
            image = split.images[i]
            ax.imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=255)
            p, k = torch.exp(log_p[i]).max(0)
            ax.set_title(f"{names[int(test.labels[i])]}\n→ {names[int(k)]} {p:.2f}", fontsize=7)
        for ax in drawing.axes:
            ax.axis("off")
        context.save_figure("mistakes", drawing)


def worst(test: EvalOutput, count: int) -> list[int]:
    """Places of at most `count` wrong answers, the one whose own class got the least probability first."""
    wrong = (test.logits.argmax(1) != test.labels).nonzero().flatten()
    own = test.logits.log_softmax(1)[wrong, test.labels[wrong]]
    return wrong[own.argsort()[:count]].tolist()
