"""Calls a function in several processes of one process group."""

import functools
import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch


def over_ranks(function: Callable[[int], Any], folder: Path, world: int = 2) -> list[Any]:
    """The results of `function(rank)` in each of `world` processes (gloo backend). The function must be importable."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["regulo.training.build", "regulo.training.module", "albumentations"])
    with context.Pool(world) as pool:
        return pool.map_async(functools.partial(_call, function, str(folder / "store"), world), range(world), 1).get(120)


def _call(function: Callable[[int], Any], store: str, world: int, rank: int) -> Any:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{store}", timeout=timedelta(seconds=60), rank=rank, world_size=world)
    try:
        return function(rank)
    finally:
        torch.distributed.destroy_process_group()
