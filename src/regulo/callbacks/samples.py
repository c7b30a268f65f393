"""The input of the network: images of the first training batches, after augmentation and mixing, with their soft labels."""

from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from regulo.callbacks.base import CallbackConfig, FigureContext
from regulo.core.figures import new_figure

if TYPE_CHECKING:
    from lightning.pytorch import Callback


class Samples(CallbackConfig):
    """A figure of the first four batches. It shows wrong labels and too strong augmentation before they cost a run."""

    count: Annotated[int, Field(ge=1, le=64)] = 16
    """number of images, from the first four batches together"""

    def callbacks(self, context: FigureContext) -> "list[Callback]":
        from lightning import LightningModule, Trainer
        from lightning.pytorch import Callback

        per_batch = -(-self.count // BATCHES)

        class SamplesCallback(Callback):
            def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
                self.images: list[Any] = []
                self.targets: list[Any] = []

            def on_train_batch_end(
                self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
            ) -> None:
                if trainer.is_global_zero and trainer.current_epoch == 0 and batch_idx < BATCHES:
                    self.images.append(outputs["images"][:per_batch].float().cpu())
                    self.targets.append(outputs["targets"][:per_batch].cpu())
                    if batch_idx + 1 == min(BATCHES, trainer.num_training_batches):
                        draw_samples(context, self.images, self.targets)

        return [SamplesCallback()]


BATCHES = 4


def draw_samples(context: FigureContext, image_batches: list[Tensor], target_batches: list[Tensor]) -> None:
    """Save a figure of normalized images (n, C, H, W) and their soft targets (n, K), both as lists of batches."""
    images, targets = torch.cat(image_batches), torch.cat(target_batches)
    dataset_info = context.dataset_info
    shape = (1, dataset_info.channels, 1, 1)
    pictures = (images * torch.tensor(dataset_info.std).view(shape) + torch.tensor(dataset_info.mean).view(shape)).clamp(0, 1)
    columns = min(8, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = new_figure(1.5 * columns, 1.9 * rows)
    for ax, picture, target in zip(figure.subplots(rows, columns, squeeze=False).flat, pictures, targets, strict=False):
        pixels = picture.permute(1, 2, 0) if dataset_info.channels == 3 else picture[0]
        ax.imshow(pixels.numpy(), cmap="gray", vmin=0, vmax=1)
        top = target.topk(min(2, len(target)))
        parts = [f"{dataset_info.classes[int(k)]} {float(p):.2f}" for p, k in zip(*top, strict=True) if p > 1.5 / len(target)]
        ax.set_title("\n".join(parts), fontsize=7)
    for ax in figure.axes:
        ax.axis("off")
    context.save_figure("samples", figure)
