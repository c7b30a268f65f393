"""How trials train: by the real `regulo train` in this process, or by small loops where that would be too slow."""

import contextlib
import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regulo.analysis.shared_settings import pinned_overrides
from regulo.config import compose
from regulo.core.errors import RunError
from regulo.core.files import file_lock
from regulo.core.metrics.base import EvalOutput
from regulo.core.safe_io import read_cache
from regulo.core.types import DatasetInfo
from regulo.core.warnings import ignore_harmless_warnings
from regulo.data.base import Splits
from regulo.optim.base import SCHEDULES


def short_run(quick: bool, *overrides: str) -> list[str]:
    """Overrides for a small network and a short run, in which the differences in question already show."""
    return ["model.width=16", f"trainer.max_epochs={8 if quick else 12}", *overrides]


def train(overrides: Sequence[str], root: Path) -> dict[str, Any]:
    """The result.json of `regulo train` with these overrides, and the run's folder as "folder".

    Runs are kept in `root`: trials with the same configuration share one run, also if they start at the same time. A run that
    diverged is a result, too, with the status "failed".
    """
    args = [*overrides, *pinned_overrides(compose.load_config(overrides), root)]
    config = json.dumps(compose.load_config(args).as_dict(), sort_keys=True)
    folder = root / "runs" / hashlib.sha256(config.encode()).hexdigest()[:16]
    with file_lock(folder.with_suffix(".lock")):
        if read_result(folder).get("status") not in ("done", "failed"):
            shutil.rmtree(folder, ignore_errors=True)
            run_train_command([*args, f"run_dir={folder}", "logger=csv", "callbacks=none"])
    return read_result(folder) | {"folder": str(folder)}


def read_result(folder: Path) -> dict[str, Any]:
    """The result.json of the run in a folder; empty if there is none."""
    return read_cache(folder / "result.json")


def run_train_command(overrides: Sequence[str]) -> None:
    """Run `regulo train` without output. A run that fails leaves its status in result.json."""
    from regulo.core import console
    from regulo.training.train import train as command

    ignore_harmless_warnings()
    console.CONSOLE.quiet = True
    try:
        with ignore_warnings():
            command(overrides)
    except RunError:
        pass  # result.json says why: the run diverged
    finally:
        console.CONSOLE.quiet = False


@contextlib.contextmanager
def ignore_warnings() -> Iterator[None]:
    """Suppress warnings in the block: torch gives many for a diverging network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@cache
def load_splits(data: str = "fashion_mnist_mini") -> tuple[Splits, DatasetInfo]:
    """The splits of a data set at its default configuration, and its info."""
    splits = compose.load_config([f"data={data}"]).data.splits()
    return splits, splits.dataset_info


@cache
def load_tensors(split: str) -> tuple[Tensor, Tensor]:
    """Normalized images (N, C, H, W) float32 and labels (N,) of "train", "val" or "test" of the shipped data."""
    splits, dataset_info = load_splits()
    part = getattr(splits, split)
    pixels = torch.tensor(part.images[:]).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (dataset_info.mean, dataset_info.std))
    return (pixels - mean) / std, torch.tensor(part.labels)


def build_network(seed: int, *overrides: str) -> nn.Module:
    """A model for the shipped data, after the plan's surgery, with weights from this seed."""
    from regulo.regularizers.components.plan import Plan

    config = compose.load_config(list(overrides))
    torch.manual_seed(seed)
    dataset_info = load_splits()[1]
    return Plan(config.regularizer.values()).surgery(config.model.build(dataset_info), dataset_info)


@torch.no_grad()
def init_he(model: nn.Module) -> nn.Module:
    """Apply He initialization (arXiv:1502.01852) to a residual network without norms; each block starts as its shortcut."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if name.endswith("conv2"):
                module.weight.zero_()
    return model


def fit(
    model: nn.Module, steps: int, lr: float, batch_size: int, seed: int, count: int = 5000, one_cycle: bool = False
) -> list[float]:
    """Train by SGD with momentum .9 on the first `count` training images.

    Returns the loss of each step, up to the first that is not finite.
    """
    x, y = (t[:count] for t in load_tensors("train"))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    rates = SCHEDULES["one_cycle" if one_cycle else "constant"](steps, 0.2 if one_cycle else 0.0)
    model.train()
    losses: list[float] = []
    order = torch.randperm(len(x), generator=generator)
    for step in range(steps):
        start = step * batch_size % (len(x) - batch_size + 1)
        if start < batch_size:
            order = torch.randperm(len(x), generator=generator)
        batch = order[start : start + batch_size]
        loss = F.cross_entropy(model(x[batch]), y[batch])
        losses.append(loss.item())
        if not loss.isfinite():
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = lr * float(rates[step])
        optimizer.step()
    return losses


@torch.inference_mode()
def run_inference(model: nn.Module, split: str = "test", count: int = 5000) -> EvalOutput:
    """The logits of a model on the first `count` images of a split, in inference mode."""
    x, y = (t[:count] for t in load_tensors(split))
    model.eval()
    return EvalOutput(torch.cat([model(part) for part in x.split(500)]), y)


def accuracy(model: nn.Module, split: str = "test", count: int = 5000) -> float:
    """The accuracy of a model on the first `count` images of a split, in [0, 1]."""
    return run_inference(model, split, count).scores()["acc"]
