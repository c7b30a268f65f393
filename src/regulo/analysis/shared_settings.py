"""Runs that are compared use the same images and settings: what the first one has taken or measured is saved for all."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regulo.config.schema import Config
from regulo.core.errors import InputError, Problem, quote
from regulo.core.files import atomic_write, file_lock
from regulo.core.nested import flatten
from regulo.core.safe_io import read_cache
from regulo.data.base import DatasetConfig
from regulo.tracking.run_dir import RunFolder

DATA = "data"
"""the folder with the lists of images, in that of all runs"""


def pinned_overrides(config: Config, root: Path) -> list[str]:
    """Overrides that fix what a run would otherwise measure for itself; saved in `root`/speed.json, for all runs there."""
    config = dataclasses.replace(config, trainer=config.trainer.model_copy(update={"compile": config.trainer.fixed_compile()}))
    settings = [config.trainer.precision, config.trainer.memory_format]
    model = {"name": config.model.name, **config.model.model_dump()}
    key = json.dumps(
        [model, config.data.name, config.data.batch_size, *(setting for setting in settings if setting != "auto")],
        sort_keys=True,
    )
    file = root / "speed.json"
    with file_lock(root / ".speed.lock"):
        overrides = read_cache(file)
        if key not in overrides:
            from regulo.training.measure_speed import build_measured

            trainer = build_measured(dataclasses.replace(config, regularizer={})).config.trainer
            overrides[key] = [f"trainer.precision={trainer.precision}", f"trainer.memory_format={trainer.memory_format}"]
            atomic_write(file, json.dumps(overrides, indent=1) + "\n")
    return [*overrides[key], f"trainer.compile={config.trainer.compile}"]


def same_data_arguments(config: DatasetConfig, root: Path) -> list[str]:
    """Arguments with which all runs below `root` have the same images in the same splits, whatever is added meanwhile.

    The images are those that are there at the first call; their data.json is saved below `root`/`DATA`.
    """
    fields = config.model_dump(exclude=set(DatasetConfig.model_fields) - {"root", "folds", "fold"})
    key = hashlib.sha256(json.dumps([config.name, fields], sort_keys=True).encode()).hexdigest()[:8]
    folder = RunFolder(root / DATA / key)
    folder.path.mkdir(parents=True, exist_ok=True)
    with file_lock(folder.path / ".lock"):
        if not (folder.path / "data.json").is_file():
            from regulo.data.components.record import open_splits

            folder.save_json("data.json", open_splits(config)[1].model_dump())
    return ["--same-data", str(folder.path)]


def compare_settings(saved: Mapping[str, Any], current: Mapping[str, Any], root: Path, hint: str) -> None:
    """Raises InputError for each key that a part of the settings in `root` has with another value; a part that is new is none."""
    problems = []
    for label, tree in current.items():
        before, after = flatten(saved.get(label, tree)), flatten(tree)
        problems += [
            Problem(key, f"the runs in {root} have {quote(before.get(key))}, and not {quote(after.get(key))}", hint)
            for key in sorted(before.keys() | after.keys())
            if before.get(key) != after.get(key)
        ]
    if problems:
        raise InputError(*problems)
