"""`regulo tune lr` and `regulo tune batch`: what is measured on a run in seconds, before it is trained."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.config.overrides import make_command
from regulo.core.errors import InputError, Problem
from regulo.core.text import format_bytes, format_count

if TYPE_CHECKING:
    from regulo.analysis.report.page import Page
    from regulo.analysis.tuning.range_test import RangeTest
    from regulo.config.schema import Config
    from regulo.config.trainer import TrainerConfig

LR_PAGE = Path("lr.html")


def tune_lr(overrides: Sequence[str]) -> int:
    """Print the rates of a range test, and write its curve. Returns the exit code. Raises InputError."""
    from regulo.analysis.report import html
    from regulo.analysis.tuning.range_test import range_test
    from regulo.core import failures
    from regulo.core.console import CONSOLE
    from regulo.training.measure_speed import build_measured

    components = build_measured(load(overrides))
    with failures.as_input_error(components.config.data.batch_size):
        test = range_test(components)
    lr = components.config.optim.for_batch_size(components.batch).lr
    scale = components.config.optim.lr / lr  # lr_base_batch
    for name in ("steepest", "valley", "recommended"):
        CONSOLE.print(f"{name:12} {scale * getattr(test, name):.2g}", soft_wrap=True)
    CONSOLE.print(
        f"the run has   {components.config.optim.lr:.2g}; {len(test.rates)} steps in {test.seconds:.0f} s", soft_wrap=True
    )
    CONSOLE.print(make_command([*overrides, f"optim.lr={scale * test.recommended:.2g}"]), soft_wrap=True, markup=False)
    CONSOLE.print(f"written: {html.save(lr_page(test, lr, scale, overrides), LR_PAGE)}", soft_wrap=True)
    return 0


def tune_batch(overrides: Sequence[str]) -> int:
    """Print how fast each batch size trains. Returns the exit code. Raises InputError if none fits."""
    import torch

    from regulo.analysis.tuning.batch_test import batch_test, batch_test_on_all_devices
    from regulo.config.overrides import Overrides
    from regulo.core.console import CONSOLE
    from regulo.training.measure_speed import build_measured

    config = load(overrides)
    processes = config.trainer.processes_per_node()
    check_batch_test(config.trainer, processes)  # before anything is measured
    components = build_measured(config)
    config = components.config
    if processes > 1:
        del components  # the first device is for the first process
        gc.collect()
        torch.cuda.empty_cache()
        test = batch_test_on_all_devices(Overrides.from_config(config).to_args(), processes)
    else:
        test = batch_test(components)
    for trial in test.trials:
        what = (
            f"{trial.images_per_second:10,.0f} images/s   {format_bytes(trial.memory)} more"
            if trial.images_per_second
            else "does not fit"
        )
        CONSOLE.print(f"{trial.size:6} {what}", soft_wrap=True)
    if not test.largest:
        raise InputError(Problem("data.batch_size", f"not even {test.trials[0].size} images fit", "use a smaller model"))
    CONSOLE.print(
        f"largest that fits {test.largest} ({test.end}); fastest {test.fastest}; sizes are images on each of "
        f"{format_count(processes, 'device')}",
        soft_wrap=True,
    )
    base = config.data.batch_size
    CONSOLE.print(
        "another batch needs another learning rate: "
        + make_command([*overrides, f"data.batch_size={test.fastest}", f"optim.lr_base_batch={base}"]),
        soft_wrap=True,
        markup=False,
    )
    return 0


def check_batch_test(trainer: "TrainerConfig", processes: int) -> None:
    """Raise InputError if the batch cannot be measured in so many processes."""
    from regulo.distributed.environment import process_environment

    if trainer.node_count() > 1:
        raise InputError(Problem("trainer.num_nodes", "the batch is measured on one machine", "trainer.num_nodes=1"))
    if processes > 1 and trainer.strategy != "ddp":
        raise InputError(Problem("trainer.strategy", f"the batch is not measured with {trainer.strategy}", "ddp"))
    if (process := process_environment()).external_launcher:
        what = "tune batch starts its processes by itself"
        raise InputError(Problem("trainer.devices", what, f"start it without {process.launcher}: trainer.devices={processes}"))


def load(overrides: Sequence[str]) -> "Config":
    """The configuration of the run, which suits this machine. Raises InputError."""
    from regulo.config import compose

    config = compose.load_config(overrides)
    config.trainer.check_machine()
    return config


def lr_page(test: "RangeTest", lr: float, scale: float, overrides: Sequence[str]) -> "Page":
    """The curve of a range test. lr: that of the run; scale: what converts rates to `optim.lr`."""
    from regulo.analysis.report import style
    from regulo.analysis.report.page import Code, Fact, Figures, Page, Picture, Section, Text
    from regulo.analysis.tuning.figures import use_log_scale

    with style.figure_style():
        ax = style.axes(3.4, grid="both")
        ax.plot(scale * test.rates, test.losses, color=style.LIGHT["muted"], lw=0.8)
        ax.plot(scale * test.rates, test.smooth, color=style.LIGHT["blue"])
        for name, color in (("steepest", "green"), ("valley", "red"), ("recommended", "ink")):
            rate = scale * getattr(test, name)
            ax.axvline(rate, color=style.LIGHT[color], lw=1.2, ls="-" if name == "recommended" else "--")
        use_log_scale(ax)
        ax.set(xlabel="learning rate, optim.lr", ylabel="training loss")
        low, high = float(test.smooth.min()), float(test.smooth[: len(test.smooth) // 3 + 1].max())
        ax.set_ylim(low - 0.2 * (high - low), high + 0.6 * (high - low))
        text = (
            f"Loss of each of {len(test.rates)} steps (gray) and its running mean (blue). "
            f"Line: recommended {scale * test.recommended:.2g}; dashed: steepest {scale * test.steepest:.2g} (green), "
            f"valley {scale * test.valley:.2g} (red)."
        )
        picture = Picture("range-test", "Learning-rate range test", text, ax.figure)
    facts = [Fact(name, f"{scale * getattr(test, name):.2g}") for name in ("recommended", "steepest", "valley")]
    facts.append(Fact("of the run", f"{scale * lr:.2g}"))
    method = Text(
        "The learning rate grows by the same factor at every step, on the plan, the images and the optimizer of the run."
    )
    code = Code(make_command([*overrides, f"optim.lr={scale * test.recommended:.2g}"]))
    sections = [Section("Curve", [Figures([picture]), method, code])]
    return Page(
        "Learning rate",
        "Which learning rates train this run, by a test of a few seconds.",
        facts,
        sections,
        "Made by regulo tune lr.",
    )
