"""`regulo evaluate`: score a run again, from its folder alone."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.data.base import downloads
from regulo.errors import Problem, Refused
from regulo.home import expanded
from regulo.runs import SPLITS, RunFolder

if TYPE_CHECKING:
    from regulo.data.pipeline.module import ImageData
    from regulo.restore import Restored


def images_of(run: "Restored") -> "ImageData":
    """The data that a run was trained and scored on. Raises Refused if they are others now."""
    from regulo.data.pipeline.module import ImageData

    spec = run.config.data
    with downloads(spec.root == type(spec).model_fields["root"].default):  # none into a folder that somebody else has named
        splits = spec.splits()
    if spec.root and not expanded(spec.root).resolve().is_relative_to(Path.cwd()):
        print(f"regulo: reading the data in {spec.root}, as the run says", file=sys.stderr)
    data = ImageData(spec, splits, run.config.run.seed, run.config.trainer.limit_batches)
    if data.facts.classes != run.facts.classes:
        what = f"the data have the classes {', '.join(data.facts.classes)}, and the run has {', '.join(run.facts.classes)}"
        raise Refused(Problem("data", what))
    return data


def evaluate(run: str, split: str | None) -> int:
    """Rebuild the model from the run alone and print its scores on a split, or on all. Returns the exit code."""
    folder = RunFolder.open(run)

    from regulo import mishaps, tables
    from regulo.restore import restore

    restored = restore(folder)
    data = images_of(restored)
    scores: dict[str, float] = {}
    with mishaps.as_input_error(restored.config.data.batch_size):
        for name in [split] if split else SPLITS:
            measured = restored.answers(data.evaluation_loader(name)).scores()
            scores |= {f"{name}/{key}": value for key, value in measured.items()}
    tables.scores(scores, title=f"{folder.path.name}, weights of epoch {restored.epoch}")
    print(json.dumps(scores))
    return 0
