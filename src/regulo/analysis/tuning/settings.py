"""What a study searches, as its folder keeps it, so that runs of other settings are not mixed with its own."""

import json
from pathlib import Path
from typing import Any

from regulo.analysis.shared_settings import compare_settings
from regulo.analysis.tuning.arguments import SETTINGS, TuneArgs
from regulo.analysis.tuning.budget import Cost
from regulo.analysis.tuning.rungs import list_rungs
from regulo.analysis.tuning.space import PlanSpace
from regulo.config.schema import Config
from regulo.core.files import atomic_write
from regulo.core.safe_io import read_json


def check_settings(config: Config, space: PlanSpace, args: TuneArgs, root: Path) -> tuple[dict[str, Any], Cost | None]:
    """The settings of the study, and what its runs take if that was measured before.

    Raises InputError if the folder has a study with other settings.
    """
    rungs = list_rungs(config.trainer.max_epochs, args.rungs)
    run = config.as_dict()
    study = {
        "rungs": list(rungs),
        "objectives": list(args.objectives),
        "space": {key: repr(domain) for key, domain in space.domains().items()},
    }
    settings = json.loads(json.dumps({"run": run, "study": study}))
    file = root / SETTINGS
    saved = read_json(file, "study") if file.is_file() else {}
    compare_settings(saved, settings, root, "study=another, or remove that folder")
    return settings, Cost(**saved["cost"]) if saved else None


def save_settings(root: Path, settings: dict[str, Any], args: TuneArgs, cost: Cost) -> None:
    """Keep the settings, the command line that can be repeated, and what runs take."""
    root.mkdir(parents=True, exist_ok=True)
    content = settings | {"arguments": list(args.words), "cost": vars(cost)}
    atomic_write(root / SETTINGS, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
