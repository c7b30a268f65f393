"""What each technique costs: the time of a training step relative to no technique, and the time of an image in the loader.

    make cost                       all techniques; writes docs/cost.md (about 6 minutes on 2 cores)
    make cost ARGS="mixup sam"      these techniques, on the terminal only

Steps with and without the technique take turns, so that a drift of the machine's speed affects both. Each pair gives a ratio;
the script reports the median and the quartiles of the ratios. The model, the batch and the plan are those of `regulo train`.
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
from regulo.training.measure_speed import measure_speed
from regulo.training.module import compute_loss

PAIRS, STEPS = 15, 3
MODELS = ("resnet_small", "vit_tiny")
HOOKS_OUTSIDE_STEP = {"transform", "transform_batch", "sequence", "infer", "calibrate"}
"""hooks that take no time in a training step"""


def list_overrides(model: str, name: str) -> list[str]:
    """Overrides of a run with one technique and those that it requires; without any technique if `name` is empty."""
    plan = [name, *compose.required_techniques(name)] if name else []
    return [f"model={model}", f"regularizer=[{','.join(plan)}]" if plan else "regularizer=none"]


def make_stepper(model: str, name: str, autotune_result: AutotuneResult) -> Callable[[], float]:
    """A function that does STEPS training steps and returns the seconds of one."""
    components = build_components(apply_autotune(compose.load_config(list_overrides(model, name)), autotune_result))
    config, plan = components.config, components.plan
    device = config.trainer.device()
    classifier: Classifier = components.classifier().to(device).train()
    example, context = components.data.example_batch(), StepContext(0)
    batch = Batch(*(column.to(device) for column in example))
    class_counts = torch.tensor(components.data.class_counts(), dtype=torch.float32, device=device)
    groups = plan.param_groups(classifier.model)
    optimizer = plan.wrap_optimizer(config.optim.build(groups, fused=True), classifier.model, lambda: context)
    averaging_callbacks = [c for c in plan.callbacks(config.run.goal) if hasattr(c, "update_average")]
    ramps = [m for m in classifier.modules() if isinstance(m, RampBuffer)]

    def closure() -> torch.Tensor:
        with autocast(config.trainer.precision, device):
            loss = compute_loss(classifier, plan, batch, class_counts, context).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return loss

    def run_steps() -> float:
        nonlocal context
        start = time.perf_counter()
        for _ in range(STEPS):
            context = StepContext(0, step=context.step + 1)
            for ramp in ramps:
                ramp.update(0.0)
            optimizer.step(closure)  # type: ignore[arg-type]
            for callback in averaging_callbacks:
                if not callback.per_epoch:  # type: ignore[attr-defined]
                    callback.update_average(classifier, 0.01)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / STEPS

    return run_steps


def measure_ratios(model: str, name: str, autotune_result: AutotuneResult) -> list[float]:
    """The time of a step with the technique divided by the time without it, for each pair."""
    without, with_technique = make_stepper(model, "", autotune_result), make_stepper(model, name, autotune_result)
    for run_steps in (without, with_technique, without, with_technique):  # warm-up
        run_steps()
    ratios = []
    for pair in range(PAIRS):  # the order alternates
        if pair % 2:
            seconds_with, seconds_without = with_technique(), without()
        else:
            seconds_without, seconds_with = without(), with_technique()
        ratios.append(seconds_with / seconds_without)
    return ratios


def loader_microseconds(name: str) -> float:
    """The additional time of an image in the loader with the technique, in microseconds."""
    times = []
    for names in ("", name):
        data = build_components(
            compose.load_config([*list_overrides("resnet_small", names), "data.device=loader"])
        ).data.train_dataset
        keys = [(0, i, 0) for i in range(200)]
        data.__getitems__(keys)
        start = time.perf_counter()
        data.__getitems__(keys)
        times.append((time.perf_counter() - start) / len(keys))
    return 1e6 * (times[1] - times[0])


def make_row(name: str, autotune_results: dict[str, AutotuneResult]) -> str:
    """The row of a technique in the table, in Markdown."""
    hooks = used_hooks(registry.get_plugin("regularizer", name)())
    cells = []
    for model in MODELS:
        if set(hooks) <= HOOKS_OUTSIDE_STEP or name == "early_stopping":
            cells.append("1 (not in the step)")
            continue
        try:
            ratios = sorted(measure_ratios(model, name, autotune_results[model]))
        except InputError:
            cells.append("no such site")
            continue
        low, _, high = statistics.quantiles(ratios, n=4)
        cells.append(f"{statistics.median(ratios):.2f} ({low:.2f}–{high:.2f})")
    cells.append(f"{loader_microseconds(name):,.0f}" if "transform" in hooks else "–")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Measure, and print or write the table."""
    ignore_harmless_warnings()
    names = sys.argv[1:] or registry.list_plugins("regularizer")
    plain = {model: build_components(compose.load_config(list_overrides(model, ""))) for model in MODELS}
    autotune_results = {model: measure_speed(components) for model, components in plain.items()}
    head = [f"| technique | {' | '.join(MODELS)} | loader, µs per image |", "|---|---|---|---|"]
    rows = [make_row(name, autotune_results) for name in track(names, "measuring")]
    print("\n".join([*head, *rows]))
    if not sys.argv[1:]:
        hardware = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
        formats = ", ".join(f"{m} in {a.precision} {a.memory_format}" for m, a in autotune_results.items())
        lines = [
            "# What each technique costs",
            "",
            "The time of a training step relative to the same run without the technique: median (quartiles) of "
            f"{PAIRS} interleaved pairs of {STEPS} steps at the defaults of its YAML. `make cost` makes this page.",
            "The last column is with `data.device=loader`. Where images stay on the device, they are augmented in whole batches, "
            "which takes less ([figures](images.md#where-images-stay-the-device-or-the-loader)).",
            "",
            f"{datetime.date.today()}; {hardware}; {formats}; fashion_mnist_mini, batch 64.",
            "",
            *head,
            *rows,
        ]
        atomic_write(Path(__file__).parents[1] / "docs" / "cost.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
