"""Weight averaging: the averaged weights are validated, scored and saved; training goes on with the raw weights.

This callback replaces Lightning's `WeightAveraging` and torch's `AveragedModel`, because they wait for the device in every step,
average integer buffers, and validate the initial weights before a delayed start.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor, nn

from regulo.core.collectives import mean_over_ranks
from regulo.core.compilation import run_eagerly

Weight = Callable[[int, float, int], float | None]
"""(states averaged so far, progress in (0, 1], steps of the run) → w of  θ̄ ← θ̄ + w (θ − θ̄);  None: the state is not averaged"""
PREFIX = "classifier."
"""of the classifier's keys in the state dict of the training module"""


class WeightAveragingCallback(Callback):
    """Averages the floating-point state of the classifier; other buffers (counters) are copied.

    `per_epoch`: average the states at the ends of epochs, not of steps. `bn_batches`: number of the last training batches of an
    epoch from which the running statistics of BatchNorm are computed for the averaged weights; 0: they are averaged, too.
    """

    def __init__(self, weight: Weight, per_epoch: bool = False, bn_batches: int = 0) -> None:
        self.weight, self.per_epoch, self.bn_batches = weight, per_epoch, bn_batches
        self.count = 0
        self.average: dict[str, Tensor] = {}
        self.model_state: dict[str, Tensor] = {}  # listed once, because listing takes as long as averaging
        self.recent_images: list[Tensor] = []

    def defers_checkpoint(self) -> bool:
        """Whether a checkpoint must wait: the batches that are being collected are not a part of it."""
        return bool(self.recent_images)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Average the state after a step, or after the last step of an epoch."""
        batches_left = trainer.num_training_batches - batch_idx - 1
        epoch_end = (trainer.current_epoch + 1) / (trainer.max_epochs or 1)
        # only the last batches, and only if the epoch is averaged: images need much memory
        if batches_left < self.bn_batches and self.weight(self.count, epoch_end, pl_module.steps) is not None:
            self.recent_images.append(outputs["images"].detach())
        if not batches_left or not self.per_epoch:
            w = self.weight(self.count, pl_module.step_context().progress, pl_module.steps)
            if w is not None:
                self.update_average(pl_module.classifier, w)

    @torch.no_grad()
    def update_average(self, model: nn.Module, w: float) -> None:
        """θ̄ ← θ̄ + w (θ − θ̄), where θ̄ begins with the first state θ."""
        if not self.model_state:
            self.model_state = model.state_dict(keep_vars=True)
        if not self.average:
            self.average = {name: tensor.detach().clone() for name, tensor in self.model_state.items()}
        floats = [n for n, t in self.model_state.items() if t.is_floating_point()]
        torch._foreach_lerp_([self.average[n] for n in floats], [self.model_state[n] for n in floats], w)
        for name in self.model_state.keys() - set(floats):
            self.average[name].copy_(self.model_state[name])
        self.count += 1

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Put the average into the model, if there is one."""
        if self.average:
            self.swap(pl_module.classifier)
            if self.bn_batches:
                with trainer.precision_plugin.forward_context():
                    update_bn(pl_module.classifier.model, self.recent_images)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Put the raw weights back; the average keeps the computed statistics."""
        self.recent_images = []
        if self.average:
            self.swap(pl_module.classifier)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange the model's state and the average, in place."""
        for name, tensor in model.state_dict().items():
            raw = tensor.clone()
            tensor.copy_(self.average[name])
            self.average[name].copy_(raw)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the average as the weights of the checkpoint, and the raw weights next to it, for resuming."""
        if self.average:
            checkpoint["raw_state_dict"] = checkpoint["state_dict"]
            checkpoint["state_dict"] = {PREFIX + name: tensor for name, tensor in self.average.items()}
            checkpoint["averaged_states"] = self.count

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Resume: the weights of the checkpoint are the average; load the raw weights into the model."""
        if "raw_state_dict" in checkpoint:
            self.average = {name.removeprefix(PREFIX): tensor for name, tensor in checkpoint["state_dict"].items()}
            self.count = checkpoint["averaged_states"]
            pl_module.load_state_dict(checkpoint["raw_state_dict"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the average of a checkpoint to the device of the model."""
        self.average = {name: tensor.to(pl_module.device) for name, tensor in self.average.items()}


@torch.no_grad()
def update_bn(model: nn.Module, batches: Sequence[Tensor]) -> None:
    """Set the running statistics of BatchNorm to their mean over batches (B, C, H, W), and change nothing else."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    settings = [(m, m.momentum, m.training) for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a mean with equal weights
        norm.train()
    with run_eagerly():
        for images in batches if norms else ():
            model(images)
    for norm, momentum, training in settings:
        norm.momentum = momentum
        norm.train(training)
        for statistic in (norm.running_mean, norm.running_var):
            if statistic is not None:
                mean_over_ranks(statistic)
