"""`regulo evaluate`: score a run again, from its folder alone."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.data.base import downloads
from regulo.errors import Problem, Refused, nearest
from regulo.home import expanded
from regulo.records import SPLITS
from regulo.runs import RunFolder

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


def evaluate(arguments: Sequence[str]) -> int:
    """`regulo evaluate RUN [split]`: rebuild the model from the run alone and print its scores. Returns the exit code."""
    if not 1 <= len(arguments) <= 2:
        raise Refused(Problem("regulo evaluate", "takes a run folder and, if wanted, a split", "regulo evaluate runs/… test"))
    wanted = arguments[1:] or SPLITS
    for name in wanted:
        if name not in SPLITS:
            raise Refused(Problem("split", f"there is no split {name!r}", nearest(name, SPLITS)))
    folder = RunFolder.open(arguments[0])

    from regulo import mishaps, tables
    from regulo.restore import restore

    run = restore(folder)
    data = images_of(run)
    with mishaps.as_input_error(run.config.data.batch_size):
        given = {name: run.answers(data.evaluation_loader(name)).scores() for name in wanted}
    scores = {f"{name}/{key}": value for name, those in given.items() for key, value in those.items()}
    tables.scores(scores, title=f"{folder.path.name}, weights of epoch {run.epoch}")
    print(json.dumps(scores))
    return 0
