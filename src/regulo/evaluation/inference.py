"""A model's predictions on a split: on one device, in order, every image once. Training ends with the same."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from regulo.core.metrics import EvalOutput
from regulo.core.precision import autocast
from regulo.core.schedule import RampBuffer
from regulo.core.types import Batch
from regulo.models.components.classifier import Classifier
from regulo.models.components.sites import RateSite
from regulo.regularizers.components.plan import Plan


def restore_ramps(classifier: Classifier, checkpoint: dict[str, Any]) -> None:
    """Set strengths inside the model to those at the end of the checkpoint's epoch: predictions that are drawn need them."""
    progress = (checkpoint["epoch"] + 1) / checkpoint["regulo"]["config"]["trainer"]["max_epochs"]
    for module in classifier.modules():
        if isinstance(module, RampBuffer | RateSite):
            module.update(progress)


@contextmanager
def fixed_seed(device: torch.device) -> Iterator[None]:
    """Inside, predictions that are drawn are the same every time, and the generators outside do not notice."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


def predict_batch(classifier: Classifier, images: torch.Tensor, precision: str, plan: Plan) -> dict[str, torch.Tensor]:
    """The plan's inference on uint8 images (B, C, H, W): "logits" (B, K), and further quantities (B,) by name."""
    with autocast(precision, images.device):
        return plan.infer(classifier.model, classifier.normalize(images))


@torch.inference_mode()
def run_inference(
    classifier: Classifier, loader: Iterable[Batch], device: torch.device, precision: str, plan: Plan, temperature: float = 1.0
) -> EvalOutput:
    """The final predictions on all images of a loader, in inference mode: the same whenever it is called."""
    classifier = classifier.to(device).eval()
    columns: dict[str, list[torch.Tensor]] = {"labels": []}
    with fixed_seed(device):
        for batch in loader:
            for name, column in predict_batch(classifier, batch.images.to(device), precision, plan).items():
                columns.setdefault(name, []).append(column.float().cpu())
            columns["labels"].append(batch.labels)
    outputs = {name: torch.cat(parts) for name, parts in columns.items()}
    return EvalOutput(outputs.pop("logits") / temperature, outputs.pop("labels"), outputs)
