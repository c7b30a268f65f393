"""`regulo evaluate`: a split's answers on one device, in order, every image once. The end of training calls the same."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader

from regulo.batch import Batch
from regulo.errors import Problem, Refused, nearest
from regulo.plan import Plan
from regulo.ramps import Dial
from regulo.runs import RunFolder
from regulo.scores import Evaluation
from regulo.sites import RateSite
from regulo.speed import autocast
from regulo.task import Classifier

SPLITS = ("train_clean", "val", "test")


def turn_back(classifier: Classifier, checkpoint: dict[str, Any]) -> None:
    """Turn what is in the model to the strengths at the end of the epoch whose weights these are: drawn answers need them."""
    progress = (checkpoint["epoch"] + 1) / checkpoint["regulo"]["config"]["trainer"]["max_epochs"]
    for module in classifier.modules():
        if isinstance(module, Dial | RateSite):
            module.advance(progress)


@contextmanager
def drawn_alike(device: torch.device) -> Iterator[None]:
    """Within: answers of a plan that draws them are the same every time, and the generators outside do not notice."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


@torch.inference_mode()
def answers(
    classifier: Classifier, loader: DataLoader[Batch], device: torch.device, precision: str, plan: Plan, temperature: float = 1.0
) -> Evaluation:
    """The final answers on all images of a loader, in inference mode: the same whenever it is called."""
    classifier = classifier.to(device).eval()
    columns: dict[str, list[torch.Tensor]] = {"labels": []}
    with drawn_alike(device):
        for batch in loader:
            with autocast(precision, device):
                given = plan.infer(classifier.model, classifier.normalise(batch.images.to(device)))
            for name, column in given.items():
                columns.setdefault(name, []).append(column.float().cpu())
            columns["labels"].append(batch.labels)
    whole = {name: torch.cat(parts) for name, parts in columns.items()}
    return Evaluation(whole.pop("logits") / temperature, whole.pop("labels"), whole)


def evaluate(arguments: Sequence[str]) -> int:
    """`regulo evaluate RUN [split]`: rebuild the model from the run alone and print its scores. Returns the exit code."""
    if not 1 <= len(arguments) <= 2:
        raise Refused(Problem("regulo evaluate", "takes a run folder and, if wanted, a split", "regulo evaluate runs/… test"))
    wanted = arguments[1:] or SPLITS
    for name in wanted:
        if name not in SPLITS:
            raise Refused(Problem("split", f"there is no split {name!r}", nearest(name, SPLITS)))
    folder = RunFolder.open(arguments[0])

    from regulo import tables
    from regulo.data.pipeline.module import ImageData
    from regulo.restore import restore

    run = restore(folder)
    data = ImageData(run.config.data, run.config.data.splits(), run.config.run.seed, run.config.trainer.limit_batches)
    if data.facts.classes != run.facts.classes:
        what = f"the data have the classes {', '.join(data.facts.classes)}, and the run has {', '.join(run.facts.classes)}"
        raise Refused(Problem("data", what))
    scores = {
        f"{name}/{key}": value for name in wanted for key, value in run.answers(data.evaluation_loader(name)).scores().items()
    }
    tables.scores(scores, title=f"{folder.path.name}, weights of epoch {run.epoch}")
    print(json.dumps(scores))
    return 0
