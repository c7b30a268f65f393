"""Runs that are to be compared run alike: precision and memory format are measured once for each architecture, and kept."""

import dataclasses
import json
from pathlib import Path

from regulo.config.schema import Config
from regulo.core.files import atomic_write, file_lock


def pinned_overrides(config: Config, root: Path) -> list[str]:
    """Overrides that fix what a run would else measure for itself; kept in `root`/speed.json, for all runs there."""
    chosen = [config.trainer.precision, config.trainer.memory_format]
    model = {"name": config.model.name, **config.model.model_dump()}
    key = json.dumps(
        [model, config.data.name, config.data.batch_size, *(c for c in chosen if c != "auto")],
        sort_keys=True,
    )
    file = root / "speed.json"
    with file_lock(root / ".speed.lock"):
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if key not in known:
            from regulo.training.build import build_components
            from regulo.training.train import autotune

            choice = autotune(build_components(dataclasses.replace(config, regularizer={})))
            known[key] = [f"trainer.precision={choice.precision}", f"trainer.memory_format={choice.memory_format}"]
            atomic_write(file, json.dumps(known, indent=1) + "\n")
    return list(known[key])
