"""Predictions of a model on a split: on one device, in order, each image once. Training ends with the same code."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from regulo.core.compilation import run_eagerly
from regulo.core.metrics.base import EvalOutput
from regulo.core.precision import autocast
from regulo.core.schedule import RampBuffer
from regulo.core.types import Batch
from regulo.models.components.classifier import Classifier
from regulo.models.components.sites import RateSite
from regulo.regularizers.components.plan import Plan


def restore_ramps(classifier: Classifier, checkpoint: dict[str, Any]) -> None:
    """Set ramped strengths in the model to their values at the end of the checkpoint's epoch: random predictions need them."""
    progress = (checkpoint["epoch"] + 1) / checkpoint["regulo"]["config"]["trainer"]["max_epochs"]
    for module in classifier.modules():
        if isinstance(module, RampBuffer | RateSite):
            module.update(progress)


@contextmanager
def fixed_seed(device: torch.device) -> Iterator[None]:
    """Context in which random predictions are the same every time. The generators are restored afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


def predict_batch(classifier: Classifier, images: torch.Tensor, precision: str, plan: Plan) -> dict[str, torch.Tensor]:
    """The plan's inference on images (B, C, H, W) uint8: "logits" (B, K), and other quantities (B,) by name."""
    with run_eagerly(), autocast(precision, images.device):
        return plan.infer(classifier.model, classifier.normalize(images))


@torch.inference_mode()
def run_inference(
    classifier: Classifier, loader: Iterable[Batch], device: torch.device, precision: str, plan: Plan, temperature: float = 1.0
) -> EvalOutput:
    """Final predictions on all images of a loader, in inference mode, with logits divided by the temperature. Deterministic."""
    classifier = classifier.to(device).eval()
    columns: dict[str, list[torch.Tensor]] = {"labels": []}
    with fixed_seed(device):
        for batch in loader:
            for name, column in predict_batch(classifier, batch.images.to(device), precision, plan).items():
                columns.setdefault(name, []).append(column.float().cpu())
            columns["labels"].append(batch.labels.cpu())
    outputs = {name: torch.cat(parts) for name, parts in columns.items()}
    return EvalOutput(outputs.pop("logits") / temperature, outputs.pop("labels"), outputs)
