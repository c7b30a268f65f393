"""What each technique costs: the time of a training step relative to none, and of an image in the loader.

    make cost                       all techniques; writes docs/cost.md (about 6 minutes on 2 cores)
    make cost ARGS="mixup sam"      these, on the terminal only

Steps with and without the technique take turns, so that a drift of the machine's speed meets both; a ratio is taken from each
pair, and the median and the quartiles of the ratios are told. The model, the batch and the plan are those of `regulo train`.
"""

import datetime
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.progress import track

from regulo.config import compose
from regulo.core import registry
from regulo.core.errors import InputError
from regulo.core.files import atomic_write
from regulo.core.precision import autocast
from regulo.core.rng import StepContext
from regulo.core.schedule import RampBuffer
from regulo.core.types import Batch
from regulo.core.warnings import ignore_harmless_warnings
from regulo.models.components.classifier import Classifier
from regulo.regularizers.base import used_hooks
from regulo.training.autotune import AutotuneResult
from regulo.training.build import apply_autotune, build_components
from regulo.training.module import compute_loss
from regulo.training.train import autotune

PAIRS, STEPS = 15, 3
MODELS = ("resnet_small", "vit_tiny")
NO_STEP = {"transform", "sequence", "infer", "calibrate"}
"""hooks that cost nothing in a training step"""


def overrides(model: str, name: str) -> list[str]:
    """A run with one technique and what it needs."""
    plan = [name, *compose.required_techniques(name)] if name else []
    return [f"model={model}", f"regularizer=[{','.join(plan)}]" if plan else "regularizer=none"]


def stepper(model: str, name: str, choice: AutotuneResult) -> Callable[[], float]:
    """A function that takes a few training steps and returns the seconds of one."""
    parts = build_components(apply_autotune(compose.load_config(overrides(model, name)), choice))
    config, plan = parts.config, parts.plan
    device = config.trainer.device()
    classifier: Classifier = parts.classifier().to(device).train()
    example, moment = parts.data.example_batch(), StepContext(0)
    batch = Batch(*(column.to(device) for column in example))
    groups = plan.param_groups(classifier.model)
    optimizer = plan.wrap_optimizer(config.optim.build(groups, fused=True), classifier.model, lambda: moment)
    averages = [c for c in plan.callbacks(config.run.goal) if hasattr(c, "take")]
    dials = [m for m in classifier.modules() if isinstance(m, RampBuffer)]

    def closure() -> torch.Tensor:
        with autocast(config.trainer.precision, device):
            loss = compute_loss(classifier, plan, batch, parts.data.facts.num_classes, moment).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return loss

    def steps() -> float:
        nonlocal moment
        start = time.perf_counter()
        for _ in range(STEPS):
            moment = StepContext(0, step=moment.step + 1)
            for dial in dials:
                dial.update(0.0)
            optimizer.step(closure)  # type: ignore[arg-type]
            for average in averages:
                if not average.per_epoch:  # type: ignore[attr-defined]
                    average.update_average(classifier, 0.01)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / STEPS

    return steps


def ratios(model: str, name: str, choice: AutotuneResult) -> list[float]:
    """Time of a step with the technique over that without, pair by pair."""
    plain, regular = stepper(model, "", choice), stepper(model, name, choice)
    for warm in (plain, regular, plain, regular):
        warm()
    found = []
    for pair in range(PAIRS):  # who is first alternates, too
        if pair % 2:
            with_it, without = regular(), plain()
        else:
            without, with_it = plain(), regular()
        found.append(with_it / without)
    return found


def microseconds(name: str) -> float:
    """What the loader spends on an image more than without the technique."""
    times = []
    for names in ("", name):
        data = build_components(compose.load_config(overrides("resnet_small", names))).data.train_dataset
        keys = [(0, i, 0) for i in range(200)]
        data.__getitems__(keys)
        start = time.perf_counter()
        data.__getitems__(keys)
        times.append((time.perf_counter() - start) / len(keys))
    return 1e6 * (times[1] - times[0])


def row(name: str, choices: dict[str, AutotuneResult]) -> str:
    """The technique's line of the table."""
    used = used_hooks(registry.get_plugin("regularizer", name)())
    cells = []
    for model in MODELS:
        if set(used) <= NO_STEP or name == "early_stopping":
            cells.append("1 (not in the step)")
            continue
        try:
            found = sorted(ratios(model, name, choices[model]))
        except InputError:
            cells.append("no such site")
            continue
        low, _, high = statistics.quantiles(found, n=4)
        cells.append(f"{statistics.median(found):.2f} ({low:.2f}–{high:.2f})")
    cells.append(f"{microseconds(name):,.0f}" if "transform" in used else "–")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Measure, and print or write the table."""
    ignore_harmless_warnings()
    wanted = sys.argv[1:] or registry.list_plugins("regularizer")
    choices = {model: autotune(build_components(compose.load_config(overrides(model, "")))) for model in MODELS}
    head = [f"| technique | {' | '.join(MODELS)} | loader, µs per image |", "|---|---|---|---|"]
    rows = [row(name, choices) for name in track(wanted, "measuring")]
    print("\n".join([*head, *rows]))
    if not sys.argv[1:]:
        where = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
        how = ", ".join(f"{m} in {c.precision} {c.memory_format}" for m, c in choices.items())
        text = [
            "# What each technique costs",
            "",
            "The time of a training step relative to the same run without the technique: median (quartiles) of "
            f"{PAIRS} interleaved pairs of {STEPS} steps at the defaults of its YAML. `make cost` makes this page.",
            "",
            f"{datetime.date.today()}; {where}; {how}; fashion_mnist_mini, batch 64.",
            "",
            *head,
            *rows,
        ]
        atomic_write(Path(__file__).parents[1] / "docs" / "cost.md", "\n".join(text) + "\n")


if __name__ == "__main__":
    main()
