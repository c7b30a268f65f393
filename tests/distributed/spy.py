"""Runs `regulo` and notes what all ranks did together: spy.py NOTE train …

NOTE gets, from rank 0: the images of every step, its mean loss and its gradient as the optimizer sees it, what validation
measured, and the final weights.
"""

import sys
from typing import Any

import torch
from torch import Tensor

from regulo.__main__ import main
from regulo.regularizers.components.replay import is_replay
from regulo.training import module, train

records: dict[str, list[Any]] = {"images": [], "losses": [], "gradients": [], "measured": [], "weights": []}
Task: Any = module.ClassificationModule
plain_step, plain_clip, plain_end = Task.training_step, Task.configure_gradient_clipping, Task.on_validation_epoch_end


def over_ranks(value: Any) -> list[Any]:
    if not torch.distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def flat(tensors: Any) -> Tensor:
    """One vector of many tensors, which may be spread over ranks."""
    together = [t.full_tensor() if hasattr(t, "full_tensor") else t for t in tensors]
    return torch.cat([t.detach().flatten().double() for t in together])


def note_step(self: Any, batch: Any, batch_idx: int) -> Any:
    output = plain_step(self, batch, batch_idx)
    if is_replay():
        return output
    records["images"].append(sorted(i for rank in over_ranks(batch.indices.tolist()) for i in rank))
    losses = over_ranks(output["loss"].item())
    records["losses"].append(sum(losses) / len(losses))
    return output


def note_gradient(self: Any, optimizer: Any, *a: Any, **k: Any) -> None:
    records["gradients"].append(flat(p.grad for p in self.parameters() if p.grad is not None))
    plain_clip(self, optimizer, *a, **k)


def note_validation(self: Any) -> None:
    plain_end(self)
    names = ("val/acc", "val/loss", "train_clean/acc", "train_clean/loss")
    records["measured"].append([float(self.trainer.callback_metrics[name]) for name in names])


def note_end(self: Any) -> None:
    records["weights"].append(flat(self.parameters()))
    if self.global_rank == 0:
        torch.save(records, sys.argv[1])


Task.training_step, Task.configure_gradient_clipping = note_step, note_gradient
Task.on_validation_epoch_end, Task.on_train_end = note_validation, note_end
train.final_evaluation = lambda *_: {"weights": "last", "weights_epoch": 0}  # what follows is done by one process, and is slow
sys.exit(main(sys.argv[2:]))
