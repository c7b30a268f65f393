"""What earlier runs have measured of a model's speed on this machine: a later one need not measure it again."""

import contextlib
import dataclasses
import datetime
import hashlib
import json
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from regulo.config.trainer import TrainerConfig
from regulo.core.cache_table import CacheTable
from regulo.tracking.environment import describe_hardware
from regulo.training.autotune import AutotuneResult

TABLE = CacheTable("speed.json")


def describe_measurement(model: nn.Module, images: Tensor, trainer: TrainerConfig) -> str:
    """A name for all on which the speed of training steps depends. `images` (B, C, H, W) are one batch, on their device."""
    facts: list[Any] = [
        repr(model),
        sum(p.numel() for p in model.parameters() if p.requires_grad),
        list(images.shape),
        images.device.type,
        trainer.precision,
        trainer.memory_format,
        trainer.gradient_checkpointing,
        trainer.deterministic,
        torch.get_num_threads(),
        describe_hardware(),
        torch.__version__,
    ]
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=12).hexdigest()


def recall(name: str) -> AutotuneResult | None:
    """What was measured under this name; None: nothing."""
    with contextlib.suppress(ValidationError):
        saved = TABLE.read(name)
        return TypeAdapter(AutotuneResult).validate_python(saved) if saved else None
    return None


def remember(name: str, result: AutotuneResult) -> None:
    """Save what was measured. Without a place for it, the next run measures again, and nothing else is lost."""
    today = datetime.date.today().isoformat()
    result = dataclasses.replace(result, compile="off", compile_note="", measured_on=result.measured_on or today)
    TABLE.write(name, result.as_dict())
