"""A finished run's model, from its folder alone: neither pretrained weights nor the data set are needed."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.core.errors import InputError, Problem
from regulo.core.paths import expand_path
from regulo.data.base import allow_downloads
from regulo.tracking.run_dir import RunFolder

if TYPE_CHECKING:
    from regulo.data.components.datamodule import ImageDataModule


import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from regulo.config.schema import Config
from regulo.config.validate import validate_config
from regulo.core.metrics import EvalOutput
from regulo.core.types import Batch, DatasetInfo
from regulo.evaluation.inference import fixed_seed, predict_batch, restore_ramps, run_inference
from regulo.models.components.classifier import Classifier
from regulo.regularizers.components.plan import Plan
from regulo.tracking import checkpoint_io, records


@dataclass(frozen=True)
class LoadedRun:
    """What a run hands on, ready to answer on `device`."""

    config: Config
    facts: DatasetInfo
    classifier: Classifier
    device: torch.device
    epoch: int
    plan: Plan
    temperature: float

    def predict(self, loader: Iterable[Batch]) -> EvalOutput:
        """The run's final predictions on all images of a loader."""
        return run_inference(self.classifier, loader, self.device, self.config.trainer.precision, self.plan, self.temperature)

    def predict_logits(self, images: torch.Tensor) -> torch.Tensor:
        """The run's final logits (B, K) on uint8 images (B, C, H, W), on the device."""
        with fixed_seed(self.device):
            outputs = predict_batch(self.classifier, images.to(self.device), self.config.trainer.precision, self.plan)
        return outputs["logits"].float() / self.temperature


def without_input_checks(config: Config) -> Config:
    """The config for whoever joins or follows a run: its files have been checked, and its weights come from elsewhere."""
    changes: dict[str, dict[str, Any]] = {"data": {"verify_images": "none"}, "model": {"weights": None}}
    parts = {
        group: part.model_copy(update={k: v for k, v in changes[group].items() if k in type(part).model_fields})
        for group, part in (("data", config.data), ("model", config.model))
    }
    return dataclasses.replace(config, **parts)  # type: ignore[arg-type]


def load_run(folder: RunFolder) -> LoadedRun:
    """Rebuild the model and load the weights that the run hands on. Raises InputError if there are none."""
    config = without_input_checks(validate_config(folder.read_config()))
    config = dataclasses.replace(config, data=config.data.model_copy(update={"num_workers": None}))  # of this machine
    if "auto" in (config.trainer.precision, config.trainer.memory_format):
        raise InputError(
            Problem("RUN", f"the configuration of {folder.path.name} is not that of a run: precision and format are open")
        )
    plan = Plan(config.regularizer.values(), config.run.strength)
    name = f"the checkpoint of {folder.path.name}"
    kept = records.check_weights(checkpoint_io.load_final_checkpoint(folder, plan.keeps_best), name)
    facts = records.read_dataset_info(kept, name)
    model = plan.surgery(config.model.build(facts), facts)
    classifier = Classifier(model, facts, config.trainer.memory_format)
    try:
        checkpoint_io.load_weights(classifier, kept)
    except RuntimeError as error:
        raise InputError(
            Problem("RUN", f"{name} has not the weights of this model: {str(error).splitlines()[-1].strip()}")
        ) from None
    restore_ramps(classifier, kept)
    device = config.trainer.device()
    return LoadedRun(
        config, facts, classifier.to(device).eval(), device, kept["epoch"] + 1, plan, records.read_temperature(folder)
    )


def open_run_data(run: "LoadedRun") -> "ImageDataModule":
    """The data that a run was trained and scored on. Raises InputError if they are others now."""
    from regulo.data.components.datamodule import ImageDataModule

    spec = run.config.data
    with allow_downloads(spec.root == type(spec).model_fields["root"].default):  # none into a folder that somebody else has named
        splits = spec.splits()
    if spec.root and not expand_path(spec.root).resolve().is_relative_to(Path.cwd()):
        print(f"regulo: reading the data in {spec.root}, as the run says", file=sys.stderr)
    data = ImageDataModule(spec, splits, run.config.run.seed, run.config.trainer.limit_batches)
    if data.facts.classes != run.facts.classes:
        what = f"the data have the classes {', '.join(data.facts.classes)}, and the run has {', '.join(run.facts.classes)}"
        raise InputError(Problem("data", what))
    return data
