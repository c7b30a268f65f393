"""Precision and memory format, measured and not assumed: what is fastest depends on the model and on the machine."""

import copy
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regulo.core.precision import MEMORY_FORMATS, autocast
from regulo.core.types import soft_cross_entropy

MARGIN = 1.10
"""of the trials this close to the fastest, the plainest is chosen: a challenger needs a clear margin"""


@dataclass(frozen=True)
class Candidate:
    """One way to run the model, and the seconds of its fastest forward and backward pass."""

    precision: str
    memory_format: str
    seconds: float | None = None


@dataclass(frozen=True)
class AutotuneResult:
    """What was chosen, and on what evidence (the plain trial first; empty if nothing was left to choose)."""

    precision: str
    memory_format: str
    evidence: tuple[Candidate, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def choose_fastest(
    model: nn.Module, images: Tensor, targets: Tensor, precision: str, memory_format: str, budget: float = 8.0
) -> AutotuneResult:
    """Time training steps on normalized images (B, C, H, W) on their device; "auto" leaves a setting open.

    The candidates take turns, so that a drift of the machine's speed meets all of them. Neither the model nor any random
    generator changes. Takes about `budget` seconds, or one round if that takes longer.
    """
    device = images.device
    bf16 = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported())
    precisions = (["32-true"] + ["bf16-mixed"] * bf16) if precision == "auto" else [precision]
    has_maps = any(isinstance(m, nn.Conv2d) for m in model.modules())
    formats = (["contiguous"] + ["channels_last"] * has_maps) if memory_format == "auto" else [memory_format]
    trials = [Candidate(p, f) for p in precisions for f in formats if not corrupts_memory(model, device, p, f)]
    if len(trials) == 1:
        return AutotuneResult(trials[0].precision, trials[0].memory_format)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        models = {f: copy.deepcopy(model).to(device).to(memory_format=MEMORY_FORMATS[f]).train() for f in formats}
        best = dict.fromkeys(trials, float("inf"))
        start, rounds = time.perf_counter(), 0
        while rounds < 2 or (rounds < 6 and time.perf_counter() - start < budget):
            for trial in trials:
                best[trial] = min(best[trial], _step(models[trial.memory_format], images, targets, trial))
            rounds += 1
    evidence = tuple(Candidate(t.precision, t.memory_format, round(s, 5)) for t, s in best.items())
    choice = next(t for t in trials if best[t] <= min(best.values()) * MARGIN)
    return AutotuneResult(choice.precision, choice.memory_format, evidence)


def corrupts_memory(model: nn.Module, device: torch.device, precision: str, memory_format: str) -> bool:
    """Whether a training step would write outside of its memory, which ends the process: docs/faults.md has the case."""
    narrow = (
        m.kernel_size == (1, 1) and max(m.stride) > 1 and m.in_channels <= 8 for m in model.modules() if isinstance(m, nn.Conv2d)
    )
    return (device.type, precision, memory_format) == ("cpu", "32-true", "channels_last") and any(narrow)


def _step(model: nn.Module, images: Tensor, targets: Tensor, trial: Candidate) -> float:
    images = images.contiguous(memory_format=MEMORY_FORMATS[trial.memory_format])
    wait = torch.cuda.synchronize if images.is_cuda else lambda: None
    wait()
    start = time.perf_counter()
    with autocast(trial.precision, images.device):
        loss = soft_cross_entropy(model(images), targets).mean()
    loss.backward()
    wait()
    seconds = time.perf_counter() - start
    model.zero_grad(set_to_none=True)
    return seconds
