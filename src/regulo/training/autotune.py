"""Precision, memory format and compilation, measured and not assumed: what is fastest depends on the model and on the machine."""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from regulo.core.compilation import compile_in_place
from regulo.core.console import CONSOLE
from regulo.core.errors import one_line
from regulo.core.precision import MEMORY_FORMATS, autocast, to_memory_format
from regulo.core.text import format_duration
from regulo.core.types import soft_cross_entropy
from regulo.models.components.narrow_convolutions import replace_narrow_convolutions
from regulo.models.components.sites import RateSite

MARGIN = 1.10
"""of the trials this close to the fastest, the plainest is chosen: a challenger needs a clear margin"""
BUDGET = 2.0
"""seconds for the trials of one choice, if a step is that short"""
LONGEST_STEP = 0.25
"""seconds of a step beyond which it is timed on a part of the batch"""
FIRST_SHARE = 1 / 8
"""of the batch, on which every candidate is tried first: bfloat16 takes seconds on processors that have no instructions for it"""
SMALLEST_PART = 8
"""images of a part of the batch at least"""
MAX_SLOWDOWN = 4.0
"""times the fastest candidate's time, beyond which a candidate is not tried on more images"""
COMPILE_SECONDS = 1.5
"""seconds that a first compilation is expected to take for each layer with parameters"""
TRIAL_SHARE = 0.05
"""of a run's time that the trial of a compilation may take"""


@dataclass(frozen=True)
class Candidate:
    """One way to run the model, and the seconds of its fastest forward and backward pass."""

    precision: str
    memory_format: str
    seconds: float = 0.0
    compile_seconds: float | None = None
    """what its compilation took before the first step; None: it is not compiled"""


@dataclass(frozen=True)
class AutotuneResult:
    """What was chosen, and on what evidence (the plain trial first; empty if nothing was left to choose)."""

    precision: str
    memory_format: str
    evidence: tuple[Candidate, ...] = ()
    compile: str = "off"
    """on or off"""
    compile_note: str = ""
    """why, for people; empty: the user has asked for it"""
    measured_on: str = ""
    """the date of the evidence, if an earlier run has measured it"""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @property
    def eager(self) -> Candidate | None:
        """The trial that was chosen, without compilation; None if there was none."""
        return self._find(is_compiled=False)

    @property
    def compiled(self) -> Candidate | None:
        """The trial of the compiled model; None if there was none."""
        return self._find(is_compiled=True)

    @property
    def settings(self) -> dict[str, str]:
        """What was chosen, by the keys of the configuration."""
        return {"precision": self.precision, "memory_format": self.memory_format, "compile": self.compile}

    def _find(self, is_compiled: bool) -> Candidate | None:
        choice = (self.precision, self.memory_format, is_compiled)
        matches = (t for t in self.evidence if (t.precision, t.memory_format, t.compile_seconds is not None) == choice)
        return next(matches, None)


def choose_fastest(
    model: nn.Module, images: Tensor, targets: Tensor, precision: str, memory_format: str, budget: float = BUDGET
) -> AutotuneResult:
    """Time training steps on normalized images (B, C, H, W) on their device; "auto" leaves a setting open.

    The candidates take turns, so that a drift of the machine's speed meets all of them. Neither the model nor any random
    generator changes. Takes about `budget` seconds, or four rounds of short steps if they take longer.
    """
    device = images.device
    bf16 = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported())
    precisions = (["32-true"] + ["bf16-mixed"] * bf16) if precision == "auto" else [precision]
    has_maps = any(isinstance(m, nn.Conv2d) for m in model.modules())
    formats = (["contiguous"] + ["channels_last"] * has_maps) if memory_format == "auto" else [memory_format]
    trials = [Candidate(p, f) for p in precisions for f in formats]
    with _unchanged_generators(device):
        models = {f: _training_copy(model, device, f) for f in formats}
        part = min(len(images), max(SMALLEST_PART, int(len(images) * FIRST_SHARE)))
        best = _take_turns(trials, models, images[:part], targets[:part], 0.0)  # seconds of an image
        hopeful = [trial for trial in trials if best[trial] <= MAX_SLOWDOWN * min(best.values())]
        whole = min(len(images), max(part, int(LONGEST_STEP / max(best[hopeful[0]], 1e-9))))
        best |= _take_turns(hopeful, models, images[:whole], targets[:whole], budget)
    evidence = tuple(replace(t, seconds=round(len(images) * s, 5)) for t, s in best.items())
    fastest = min(best[trial] for trial in hopeful)
    choice = next(trial for trial in hopeful if best[trial] <= fastest * MARGIN)
    return AutotuneResult(choice.precision, choice.memory_format, evidence)


def _take_turns(
    trials: Sequence[Candidate], models: Mapping[str, nn.Module], images: Tensor, targets: Tensor, budget: float
) -> dict[Candidate, float]:
    """The seconds of an image, of the fastest of two to six steps of each candidate."""
    best = dict.fromkeys(trials, float("inf"))
    start, rounds = time.perf_counter(), 0
    while rounds < 2 or (rounds < 6 and time.perf_counter() - start < budget):
        for trial in trials:
            best[trial] = min(best[trial], _step(models[trial.memory_format], images, targets, trial) / len(images))
        rounds += 1
    return best


def choose_compilation(result: AutotuneResult, model: nn.Module, images: Tensor, targets: Tensor, steps: int) -> AutotuneResult:
    """Compile if it pays in a run of so many steps. A result without a trial of it gets one if the run is long enough for that.

    `images`, `targets`: as for `choose_fastest`.
    """
    eager, trial = result.eager, result.compiled
    assert eager  # `choose_fastest` has timed it
    run_seconds = steps * eager.seconds
    if any(isinstance(module, RateSite) and module.is_ramped for module in model.modules()):
        note = "not compiled: the rate of attention dropout changes, and this model would be compiled again for each value"
        return replace(result, compile_note=note)
    if trial is None:
        layers = sum(next(module.parameters(recurse=False), None) is not None for module in model.modules())
        if run_seconds * TRIAL_SHARE < COMPILE_SECONDS * layers:
            return replace(result, compile_note=f"not compiled: the steps of this run take about {format_duration(run_seconds)}")
        try:
            with CONSOLE.status("compiling the model, to measure whether that pays; this can take minutes"):
                trial = time_compiled(model, images, targets, eager)
        except Exception as error:  # of a compiler: of any kind
            return replace(result, compile_note=f"not compiled: {one_line(str(error).strip().partition(chr(10))[0])[:200]}")
        result = replace(result, evidence=(*result.evidence, trial))
    cost, gain = trial.compile_seconds or 0.0, steps * (eager.seconds - trial.seconds)
    if gain > cost:
        note = f"compiled: saves about {format_duration(gain)} of {format_duration(run_seconds)}"
        return replace(result, compile="on", compile_note=note)
    why = f"it would save {format_duration(gain)}, and take {format_duration(cost)}" if gain > 0 else "it is not faster"
    return replace(result, compile_note=f"not compiled: {why}")


def time_compiled(model: nn.Module, images: Tensor, targets: Tensor, eager: Candidate) -> Candidate:
    """The same way to run the model, compiled: its seconds are those of `eager` by the ratio of steps that take turns here."""
    with _unchanged_generators(images.device):
        plain = _training_copy(model, images.device, eager.memory_format)
        compiled = _training_copy(model, images.device, eager.memory_format)
        compile_in_place(compiled)
        first = sum(_step(compiled, images, targets, eager) for _ in range(2))  # the second one may compile, too
        start, rounds, best = time.perf_counter(), 0, [float("inf")] * 2
        while rounds < 3 or (rounds < 6 and time.perf_counter() - start < BUDGET):
            best = [min(b, _step(m, images, targets, eager)) for b, m in zip(best, (plain, compiled), strict=True)]
            rounds += 1
    seconds = eager.seconds * best[1] / best[0]
    return replace(eager, seconds=round(seconds, 5), compile_seconds=round(max(0.0, first - 2 * best[1]), 1))


def _unchanged_generators(device: torch.device) -> Any:
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def _training_copy(model: nn.Module, device: torch.device, memory_format: str) -> nn.Module:
    model = copy.deepcopy(model)
    replace_narrow_convolutions(model)
    return model.to(device).to(memory_format=MEMORY_FORMATS[memory_format]).train()


def _step(model: nn.Module, images: Tensor, targets: Tensor, trial: Candidate) -> float:
    images = to_memory_format(images, trial.memory_format)
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
