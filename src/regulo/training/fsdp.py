"""Fully sharded data parallelism (FSDP2; Zhao et al., 2023, arXiv:2304.11277): every process holds a part of each weight.

Lightning's `ModelParallelStrategy` with torch's `fully_shard`, and not `FSDPStrategy`, whose wrapper flattens the weights: here
parameters keep their names and shapes, and parameter groups and the norm of the gradient mean what they say.
"""

from datetime import timedelta
from typing import Any

from regulo.models.components.sites import block_numbers
from regulo.training.module import ClassificationModule


class FSDPClassificationModule(ClassificationModule):
    """The task on a model whose blocks are gathered one after the other, when they are needed."""

    may_fuse = False  # torch has no fused SGD of sharded tensors

    def configure_model(self) -> None:
        """Shard each block, and then what is left. Lightning calls it once processes know each other."""
        from torch.distributed.fsdp import fully_shard

        mesh = self.device_mesh["data_parallel"]  # type: ignore[index]
        model = self.classifier.model
        for name in block_numbers(model):
            if name:
                fully_shard(model.get_submodule(name), mesh=mesh)
        fully_shard(model, mesh=mesh)


def fsdp_strategy(processes: int, backend: str | None, timeout: timedelta) -> Any:
    """Lightning's strategy: all processes share the data, and checkpoints are whole."""
    from lightning.pytorch.strategies import ModelParallelStrategy

    return ModelParallelStrategy(processes, 1, save_distributed_checkpoint=False, process_group_backend=backend, timeout=timeout)
