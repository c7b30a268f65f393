"""Loads the model of a finished run from its folder: neither pretrained weights nor the data set are needed."""

import dataclasses
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from regulo.config.schema import Config
from regulo.config.validate import read_run_config
from regulo.core.errors import InputError, Problem
from regulo.core.metrics.base import EvalOutput
from regulo.core.paths import expand_path
from regulo.core.types import Batch, DatasetInfo
from regulo.data.base import allow_downloads
from regulo.evaluation.image_reader import BATCH, ImageReader
from regulo.evaluation.inference import fixed_seed, predict_batch, restore_ramps, run_inference
from regulo.models.components.classifier import Classifier
from regulo.regularizers.components.plan import Plan
from regulo.tracking import checkpoint_io, records
from regulo.tracking.environment import find_changed_extensions
from regulo.tracking.run_dir import RunFolder

if TYPE_CHECKING:
    from regulo.data.components.datamodule import ImageDataModule


@dataclass(frozen=True)
class LoadedRun:
    """The final model of a run on `device`, ready to predict."""

    folder: RunFolder
    config: Config
    dataset_info: DatasetInfo
    classifier: Classifier
    device: torch.device
    epoch: int
    plan: Plan
    temperature: float

    @torch.inference_mode()
    def predict(self, images: Iterable[str | Path | np.ndarray]) -> torch.Tensor:
        """The probabilities (n, K) of n images, float32 on the CPU: image files, or arrays (H, W, C) uint8 of any size.

        The columns are `dataset_info.classes`. Raises InputError that names the first image that cannot be read.
        """
        read = ImageReader(self.config.data, self.dataset_info)
        pixels = []
        for number, image in enumerate(images):
            try:
                pixels.append(read(image))
            except Exception as error:  # a decoder may raise anything on a damaged file
                name = f"images[{number}]" if isinstance(image, np.ndarray) else str(image)
                raise InputError(Problem(name, str(error))) from error
        batches = (torch.from_numpy(np.stack(pixels[start : start + BATCH])) for start in range(0, len(pixels), BATCH))
        probabilities = [self.predict_logits(batch).softmax(1).cpu() for batch in batches]
        return torch.cat([torch.zeros(0, self.dataset_info.num_classes), *probabilities])

    def predict_loader(self, loader: Iterable[Batch]) -> EvalOutput:
        """The final predictions of the run on all images of a loader."""
        return run_inference(self.classifier, loader, self.device, self.config.trainer.precision, self.plan, self.temperature)

    def predict_logits(self, images: torch.Tensor) -> torch.Tensor:
        """The final logits (B, K) of the run, on the device, for images (B, C, H, W) uint8."""
        with fixed_seed(self.device):
            outputs = predict_batch(self.classifier, images.to(self.device), self.config.trainer.precision, self.plan)
        return outputs["logits"].float() / self.temperature


def without_input_checks(config: Config) -> Config:
    """The config without verify_images and pretrained weights, for a run whose files are checked and whose weights come from a
    checkpoint or from another process.
    """
    changes: dict[str, dict[str, Any]] = {"data": {"verify_images": "none"}, "model": {"weights": None}}
    parts = {
        group: part.model_copy(update={k: v for k, v in changes[group].items() if k in type(part).model_fields})
        for group, part in (("data", config.data), ("model", config.model))
    }
    return dataclasses.replace(config, **parts)  # type: ignore[arg-type]


def load_run(folder: RunFolder, data_root: str | None = None) -> LoadedRun:
    """Rebuild the model of a run and load its final weights. Raises InputError if there are none, or if they do not fit.

    `data_root`: the folder of the data, if they have moved.
    """
    config = without_input_checks(read_run_config(folder))
    for change in find_changed_extensions(records.read_or_empty(records.read_environment, folder)):
        print(f"regulo: {change}", file=sys.stderr)
    update = {"num_workers": None} | ({"root": data_root} if data_root else {})  # of this machine
    config = dataclasses.replace(config, data=config.data.model_copy(update=update))
    if "auto" in (config.trainer.precision, config.trainer.memory_format):
        what = f"the configuration of {folder.path.name} is not that of a run: its precision and memory format are 'auto'"
        raise InputError(Problem("RUN", what))
    plan = Plan(config.regularizer.values(), config.run.strength)
    name = f"the checkpoint of {folder.path.name}"
    checkpoint = records.check_weights(checkpoint_io.load_final_checkpoint(folder, plan.keeps_best), name)
    dataset_info = records.read_dataset_info(checkpoint, name)
    model = plan.surgery(config.model.build(dataset_info), dataset_info)
    classifier = Classifier(model, dataset_info, config.trainer.memory_format)
    try:
        checkpoint_io.load_weights(classifier, checkpoint)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(Problem("RUN", f"{name} does not have the weights of this model: {reason}")) from None
    restore_ramps(classifier, checkpoint)
    device = config.trainer.device()
    epoch, temperature = checkpoint["epoch"] + 1, records.read_temperature(folder)
    return LoadedRun(folder, config, dataset_info, classifier.to(device).eval(), device, epoch, plan, temperature)


def open_run_data(run: "LoadedRun") -> "ImageDataModule":
    """The data with which a run was trained and evaluated. Raises InputError if their classes are no longer the same."""
    from regulo.data.components.datamodule import ImageDataModule
    from regulo.data.components.record import open_splits

    config = run.config.data
    # a run from elsewhere may name any folder: nothing is downloaded into a folder that is not the default
    with allow_downloads(config.root == type(config).model_fields["root"].default):
        splits, _ = open_splits(config, run.folder)
    if config.root and not expand_path(config.root).resolve().is_relative_to(Path.cwd()):
        print(f"regulo: reading the data in {config.root}", file=sys.stderr)
    for note in splits.notes:
        print(f"regulo: {note}", file=sys.stderr)
    return ImageDataModule(config, splits, run.config.run.seed, run.config.trainer.limit_batches)
