"""`regulo evaluate`: a split's answers on one device, in order, every image once. The end of training calls the same."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from regulo.batch import Batch
from regulo.data.base import downloads
from regulo.errors import Problem, Refused
from regulo.home import expanded
from regulo.plan import Plan
from regulo.ramps import Dial
from regulo.runs import SPLITS, RunFolder
from regulo.scores import Evaluation
from regulo.sites import RateSite
from regulo.speed import autocast
from regulo.task import Classifier

if TYPE_CHECKING:
    from regulo.data.pipeline.module import ImageData
    from regulo.restore import Restored


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


def ask(classifier: Classifier, images: torch.Tensor, precision: str, plan: Plan) -> dict[str, torch.Tensor]:
    """What the plan's inference says of uint8 images (B, C, H, W): "logits" (B, K), and further quantities (B,) by name."""
    with autocast(precision, images.device):
        return plan.infer(classifier.model, classifier.normalise(images))


@torch.inference_mode()
def answers(
    classifier: Classifier, loader: Iterable[Batch], device: torch.device, precision: str, plan: Plan, temperature: float = 1.0
) -> Evaluation:
    """The final answers on all images of a loader, in inference mode: the same whenever it is called."""
    classifier = classifier.to(device).eval()
    columns: dict[str, list[torch.Tensor]] = {"labels": []}
    with drawn_alike(device):
        for batch in loader:
            for name, column in ask(classifier, batch.images.to(device), precision, plan).items():
                columns.setdefault(name, []).append(column.float().cpu())
            columns["labels"].append(batch.labels)
    whole = {name: torch.cat(parts) for name, parts in columns.items()}
    return Evaluation(whole.pop("logits") / temperature, whole.pop("labels"), whole)


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
    with mishaps.refused(restored.config):
        for name in [split] if split else SPLITS:
            measured = restored.answers(data.evaluation_loader(name)).scores()
            scores |= {f"{name}/{key}": value for key, value in measured.items()}
    tables.scores(scores, title=f"{folder.path.name}, weights of epoch {restored.epoch}")
    print(json.dumps(scores))
    return 0
