"""Runs that are compared use the same settings: precision and memory format are measured once for each model, and saved."""

import dataclasses
import json
from pathlib import Path

from regulo.config.schema import Config
from regulo.core.files import atomic_write, file_lock
from regulo.core.safe_io import read_cache


def pinned_overrides(config: Config, root: Path) -> list[str]:
    """Overrides that fix what a run would otherwise measure for itself; saved in `root`/speed.json, for all runs there."""
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
            from regulo.training.build import build_components
            from regulo.training.train import autotune

            result = autotune(build_components(dataclasses.replace(config, regularizer={})))
            overrides[key] = [f"trainer.precision={result.precision}", f"trainer.memory_format={result.memory_format}"]
            atomic_write(file, json.dumps(overrides, indent=1) + "\n")
    return list(overrides[key])
