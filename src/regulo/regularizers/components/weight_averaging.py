"""Averaged weights: they are what is validated, scored by the checkpoints and handed on; the raw ones go on training.

Lightning's `WeightAveraging` and torch's `AveragedModel` wait for the device in every step, average integer buffers, and
validate the initial weights before a delayed start; hence this callback.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor, nn

from regulo.core.collectives import mean_over_ranks

Weight = Callable[[int, float, int], float | None]
"""(states averaged so far, progress in (0, 1], steps of the run) → w of  θ̄ ← θ̄ + w (θ − θ̄);  None: left out"""
PREFIX = "classifier."


class WeightAveragingCallback(Callback):
    """Averages the classifier's floating-point state; other buffers (counters) are copied.

    `per_epoch`: a state is that at the end of an epoch, not of a step. `fresh_statistics`: BatchNorm's running statistics are
    estimated anew for the averaged weights, from so many of the epoch's last batches, as the network saw them in training.
    """

    def __init__(self, weight: Weight, per_epoch: bool = False, fresh_statistics: int = 0) -> None:
        self.weight, self.per_epoch, self.fresh_statistics = weight, per_epoch, fresh_statistics
        self.count = 0
        self.average: dict[str, Tensor] = {}
        self.source: dict[str, Tensor] = {}  # the model's own tensors, listed once: that takes as long as to average them
        self.seen: list[Tensor] = []

    def defers_checkpoint(self) -> bool:
        """While batches are collected, which a checkpoint does not hold."""
        return bool(self.seen)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Take the state after a step, or after the last step of an epoch."""
        left = trainer.num_training_batches - batch_idx - 1
        end = (trainer.current_epoch + 1) / (trainer.max_epochs or 1)
        if left < self.fresh_statistics and self.weight(self.count, end, pl_module.steps) is not None:  # images hold much memory
            self.seen.append(outputs["images"].detach())
        if not left or not self.per_epoch:
            w = self.weight(self.count, pl_module.step_context().progress, pl_module.steps)
            if w is not None:
                self.take(pl_module.classifier, w)

    @torch.no_grad()
    def take(self, model: nn.Module, w: float) -> None:
        """θ̄ ← θ̄ + w (θ − θ̄); the first state is θ̄."""
        if not self.source:
            self.source = model.state_dict(keep_vars=True)
        if not self.average:
            self.average = {name: tensor.detach().clone() for name, tensor in self.source.items()}
        floats = [n for n, t in self.source.items() if t.is_floating_point()]
        torch._foreach_lerp_([self.average[n] for n in floats], [self.source[n] for n in floats], w)
        for name in self.source.keys() - set(floats):
            self.average[name].copy_(self.source[name])
        self.count += 1

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """The average takes the place of the raw weights, once there is one."""
        if self.average:
            self.swap(pl_module.classifier)
            if self.fresh_statistics:
                with trainer.precision_plugin.forward_context():
                    update_bn(pl_module.classifier.model, self.seen)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """The raw weights come back, and the average keeps the statistics that were estimated."""
        self.seen = []
        if self.average:
            self.swap(pl_module.classifier)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange the model's state and the average, in place."""
        for name, tensor in model.state_dict().items():
            kept = tensor.clone()
            tensor.copy_(self.average[name])
            self.average[name].copy_(kept)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """What is kept and handed on is the average; the raw weights stay beside it, to go on from."""
        if self.average:
            checkpoint["raw_state_dict"] = checkpoint["state_dict"]
            checkpoint["state_dict"] = {PREFIX + name: tensor for name, tensor in self.average.items()}
            checkpoint["averaged_states"] = self.count

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on from there: the checkpoint's weights are the average, and the model needs the raw ones."""
        if "raw_state_dict" in checkpoint:
            self.average = {name.removeprefix(PREFIX): tensor for name, tensor in checkpoint["state_dict"].items()}
            self.count = checkpoint["averaged_states"]
            pl_module.load_state_dict(checkpoint["raw_state_dict"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A restored average has to follow the model to its device."""
        self.average = {name: tensor.to(pl_module.device) for name, tensor in self.average.items()}


@torch.no_grad()
def update_bn(model: nn.Module, batches: Sequence[Tensor]) -> None:
    """Set BatchNorm's running statistics to their mean over batches (B, C, H, W), and leave everything else as it is."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    kept = [(m, m.momentum, m.training) for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
        norm.train()
    for images in batches if norms else ():
        model(images)
    for norm, momentum, training in kept:
        norm.momentum = momentum
        norm.train(training)
        for statistic in (norm.running_mean, norm.running_var):
            if statistic is not None:
                mean_over_ranks(statistic)
