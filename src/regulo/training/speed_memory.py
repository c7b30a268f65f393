"""What earlier runs have measured of a model's speed on this machine: a later one need not measure it again."""

import contextlib
import dataclasses
import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from regulo.config.trainer import TrainerConfig
from regulo.core.errors import InputError
from regulo.core.files import atomic_write, file_lock
from regulo.core.paths import user_cache_dir
from regulo.core.safe_io import read_cache
from regulo.tracking.environment import describe_hardware
from regulo.training.autotune import AutotuneResult

MOST = 500
"""models that are remembered: the last ones"""


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
    file = _file()
    with contextlib.suppress(ValidationError):
        saved = read_cache(file).get(name) if file else None
        return TypeAdapter(AutotuneResult).validate_python(saved) if saved else None
    return None


def remember(name: str, result: AutotuneResult) -> None:
    """Keep what was measured. Without a place for it, the next run measures again, and nothing else is lost."""
    file = _file()
    if not file:
        return
    today = datetime.date.today().isoformat()
    result = dataclasses.replace(result, compile="off", compile_note="", measured_on=result.measured_on or today)
    with contextlib.suppress(OSError, InputError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(file.with_suffix(".lock")):
            content = {key: value for key, value in read_cache(file).items() if key != name}
            content = dict([*content.items(), (name, result.as_dict())][-MOST:])
            atomic_write(file, json.dumps(content, indent=1) + "\n")


def _file() -> Path | None:
    folder = user_cache_dir()
    return folder / "speed.json" if folder else None
