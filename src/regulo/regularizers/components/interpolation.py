"""Interpolation between the state before the first step and the trained one; the result is validated, scored and saved."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import nn

from regulo.core.metrics.components.running import EvalMetrics
from regulo.models.components.head import Head
from regulo.regularizers.base import Goal
from regulo.regularizers.components.initial_state import State
from regulo.regularizers.components.weight_averaging import WeightAveragingCallback, update_bn


class InterpolationCallback(WeightAveragingCallback):
    """The average of two states, made anew for each validation, with the share of the trained one that is best for the goal.

    `bn_batches`: number of the last training batches from which the statistics of BatchNorm are computed for it.
    """

    def __init__(self, initial: State, head: Head, shares: list[float], bn_batches: int, goal: Goal) -> None:
        super().__init__(lambda count, progress, steps: 1.0, per_epoch=True, bn_batches=bn_batches)  # the trained state, at first
        self.initial, self.head, self.goal = initial, head, goal
        self.shares = sorted(shares, reverse=True)  # of equally good ones that nearest to the trained weights
        self.share = self.shares[0]
        self.loader: Any = None

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Choose the share, and put the interpolated state into the model."""
        model = pl_module.classifier.model
        trained = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        if self.has_moved(trained):
            with trainer.precision_plugin.forward_context():
                candidates = {share: self.interpolate(model, trained, share) for share in self.shares}
                self.share = self.choose(trainer, pl_module, candidates) if len(candidates) > 1 else self.shares[0]
        else:  # every share gives the same weights
            self.share, candidates = self.shares[0], {self.shares[0]: trained}
        model.load_state_dict(trained)
        self.average = {f"model.{name}": tensor for name, tensor in candidates[self.share].items()}
        self.swap(pl_module.classifier)

    def has_moved(self, trained: State) -> bool:
        """Whether anything outside the head differs from the first state."""
        return any(
            not torch.equal(self.initial[name], tensor)
            for name, tensor in trained.items()
            if tensor.is_floating_point() and name not in self.head
        )

    def interpolate(self, model: nn.Module, trained: State, share: float) -> State:
        """(1 − α) θ⁰ + α θ of floating-point tensors outside the head, with its own statistics; θ itself for α = 1."""
        if share == 1:
            return trained
        state = {
            name: torch.lerp(self.initial[name], tensor, share)
            if tensor.is_floating_point() and name not in self.head
            else tensor
            for name, tensor in trained.items()
        }
        model.load_state_dict(state)
        update_bn(model, self.recent_images)
        return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def choose(self, trainer: Trainer, pl_module: Any, candidates: dict[float, State]) -> float:
        """The share with the best value of the monitor. Each validation image is read once for all of them."""
        if self.loader is None:  # Lightning already reads from its own
            self.loader = trainer.datamodule.val_dataloader()[0]  # type: ignore[attr-defined]
        metrics = {share: EvalMetrics(pl_module.num_classes, pl_module.device) for share in candidates}
        for batch in self.loader:
            batch = pl_module.transfer_batch_to_device(batch, pl_module.device, 0)
            for share, state in candidates.items():
                pl_module.classifier.model.load_state_dict(state)
                metrics[share].update(pl_module(batch.images), batch.labels)
        scores = {share: m.compute()[self.goal.monitor.removeprefix("val/")] for share, m in metrics.items()}
        return (min if self.goal.mode == "min" else max)(scores, key=scores.__getitem__)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the interpolated state as the weights, and its share."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self.average:
            checkpoint["interpolation"] = self.share

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Resume, as with other averages."""
        super().on_load_checkpoint(trainer, pl_module, checkpoint)
        self.share = checkpoint.get("interpolation", self.share)
