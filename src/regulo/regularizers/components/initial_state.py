"""The state of a model before the first step, for techniques that compare with it or go back to it.

Every checkpoint has it, so a resumed run uses the very same numbers: pretrained weights are not loaded again then, and their file
may have changed.
"""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor, nn

State = dict[str, Tensor]
"""tensors by their names in the state dict of a model"""
KEY = "initial_state_dict"


def record(model: nn.Module, state: State) -> None:
    """Copy the state of a model into `state` if it is empty. Call it before the first step."""
    if not state:
        state.update({name: tensor.detach().clone() for name, tensor in model.state_dict().items()})


class InitialStateCallback(Callback):
    """Fills `state` when the training begins, or from the checkpoint from which it goes on, and saves it."""

    def __init__(self, state: State) -> None:
        self.state = state

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.state.update(checkpoint[KEY])

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """All processes have the weights of the first one by now."""
        record(pl_module.classifier.model, self.state)
        self.state.update({name: tensor.to(pl_module.device) for name, tensor in self.state.items()})

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = self.state
