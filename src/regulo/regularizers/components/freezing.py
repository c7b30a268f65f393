"""Train the head alone at first. What is frozen depends on nothing but the step, so a resumed run is the same as an unbroken one.

This callback replaces Lightning's `BaseFinetuning`, which freezes again on resume (#21901) and leaves DistributedDataParallel
waiting for gradients that never come (#20340).
"""

from typing import Any

from lightning import Trainer
from lightning.pytorch import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from regulo.models.components.head import find_head
from regulo.models.components.norms import BATCH_NORM


class FreezeBackboneCallback(Callback):
    """Freezes the backbone while less than `share` of the run's steps are done. `key` is the technique, for messages."""

    def __init__(self, share: float, key: str) -> None:
        self.share, self.key = share, key
        self.is_frozen = False
        self.trainable: set[str] = set()
        """names of the parameters that the model itself trains"""

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Remember what the model itself trains, before anything is frozen."""
        model = pl_module.classifier.model
        self.trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Before the first step of this process, and at the step of the change."""
        freeze = pl_module.step_context().progress < self.share
        if freeze != self.is_frozen:
            set_frozen(pl_module.classifier.model, freeze, self.key, self.trainable)
            self.is_frozen = freeze
            if isinstance(trainer.strategy, DDPStrategy):  # DDP waits for the gradients of the parameters that it was made with
                trainer.strategy.model = trainer.strategy.lightning_module
                trainer.strategy.configure_ddp()


def set_frozen(model: nn.Module, freeze: bool, key: str, trainable: set[str]) -> None:
    """Freeze or train the backbone: its `trainable` parameters, and the running statistics of its BatchNorm."""
    head = find_head(model, key)
    for name, parameter in model.named_parameters():
        if name in trainable and name not in head:
            parameter.requires_grad_(not freeze)
    for name, module in model.named_modules():
        if name not in head and isinstance(module, BATCH_NORM):
            module.train(not freeze)
