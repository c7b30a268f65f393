"""The Lightning Trainer of a run."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.distributed.distributed_c10d import default_pg_timeout as default_timeout

from regulo.config.trainer import TrainerConfig
from regulo.distributed.environment import cluster_environment
from regulo.distributed.watchdog import FIRST_STEP
from regulo.tracking.checkpoint_io import AtomicCheckpoints
from regulo.training import fsdp


def build_trainer(config: TrainerConfig, folder: Path, loggers: Sequence[Logger], callbacks: Sequence[Callback]) -> Trainer:
    """The Trainer of a run that lives in `folder`."""
    return Trainer(
        accelerator=config.accelerator,
        devices=config.processes_per_node() if config.strategy != "auto" else 1,
        num_nodes=config.node_count(),
        strategy=_strategy(config),
        precision=config.precision,  # type: ignore[arg-type]
        max_epochs=config.max_epochs,
        log_every_n_steps=config.log_every_n_steps,
        limit_train_batches=config.limit_batches,
        deterministic=config.deterministic,
        detect_anomaly=config.detect_anomaly,
        logger=list(loggers),
        callbacks=list(callbacks),
        plugins=[AtomicCheckpoints(), cluster_environment(), *([HookedSyncBatchNorm()] if config.sync_batchnorm else [])],
        default_root_dir=folder,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the sampler knows its rank
        enable_model_summary=False,
        enable_progress_bar=False,  # the progress callback is the one bar
    )


def _strategy(config: TrainerConfig) -> Any:
    backend = "gloo" if config.device().type == "cpu" else None
    timeout = timedelta(seconds=FIRST_STEP * config.hang_timeout) if config.hang_timeout else default_timeout
    if config.strategy == "ddp":
        return DDPStrategy(process_group_backend=backend, timeout=timeout)
    if config.strategy == "fsdp":
        return fsdp.fsdp_strategy(config.world_size(), backend, timeout)
    return "auto"


class HookedSyncBatchNorm(TorchSyncBatchNorm):
    """Lightning's conversion to SyncBatchNorm forgets the forward hooks by which sites hang on a layer."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Convert the model."""
        hooks = {name: module._forward_hooks for name, module in model.named_modules()}
        model = super().apply(model)
        for name, module in model.named_modules():
            module._forward_hooks = hooks[name]
        return model
