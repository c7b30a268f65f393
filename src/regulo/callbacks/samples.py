"""What the network saw: images of the first training batches, after augmentation and mixing, with their soft labels."""

from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from regulo.callbacks.base import CallbackConfig, FigureContext
from regulo.core.figures import new_figure

if TYPE_CHECKING:
    from lightning.pytorch import Callback


class Samples(CallbackConfig):
    """A look at the first four batches, which shows wrong labels and unreadable augmentation before they cost a run."""

    count: Annotated[int, Field(ge=1, le=64)] = 16
    """images, from the first four batches together"""

    def callbacks(self, context: FigureContext) -> "list[Callback]":
        from lightning import LightningModule, Trainer
        from lightning.pytorch import Callback

        each = -(-self.count // BATCHES)

        class Look(Callback):
            def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
                self.images: list[Any] = []
                self.targets: list[Any] = []

            def on_train_batch_end(
                self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
            ) -> None:
                if trainer.is_global_zero and trainer.current_epoch == 0 and batch_idx < BATCHES:
                    self.images.append(outputs["images"][:each].float().cpu())
                    self.targets.append(outputs["targets"][:each].cpu())
                    if batch_idx + 1 == min(BATCHES, trainer.num_training_batches):
                        draw(context, self.images, self.targets)

        return [Look()]


BATCHES = 4


def draw(context: FigureContext, batches: list[Tensor], their_targets: list[Tensor]) -> None:
    """Batches of images (n, C, H, W), normalised, and of soft targets (n, K)."""
    images, targets = torch.cat(batches), torch.cat(their_targets)

    facts = context.facts
    shape = (1, facts.channels, 1, 1)
    shown = (images * torch.tensor(facts.std).view(shape) + torch.tensor(facts.mean).view(shape)).clamp(0, 1)
    columns = min(8, len(shown))
    rows = -(-len(shown) // columns)
    grid = new_figure(1.5 * columns, 1.9 * rows)
    for ax, image, target in zip(grid.subplots(rows, columns, squeeze=False).flat, shown, targets, strict=False):
        picture = image.permute(1, 2, 0) if facts.channels == 3 else image[0]
        ax.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1)
        top = target.topk(min(2, len(target)))
        parts = [f"{facts.classes[int(k)]} {float(p):.2f}" for p, k in zip(*top, strict=True) if p > 1.5 / len(target)]
        ax.set_title("\n".join(parts), fontsize=7)
    for ax in grid.axes:
        ax.axis("off")
    context.save_figure("samples", grid)
