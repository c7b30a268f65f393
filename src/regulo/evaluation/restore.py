"""Loads the model of a finished run from its folder: neither pretrained weights nor the data set are needed."""

import dataclasses
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from regulo.config.schema import Config
from regulo.config.validate import read_run_config
from regulo.core.errors import InputError, Problem
from regulo.core.metrics.base import EvalOutput
from regulo.core.paths import expand_path
from regulo.core.precision import autocast
from regulo.core.types import Batch, DatasetInfo
from regulo.data.base import allow_downloads
from regulo.evaluation.image_loader import load_images
from regulo.evaluation.image_reader import AnyImage, ImageReader
from regulo.evaluation.inference import fixed_seed, predict_batch, restore_ramps, run_inference
from regulo.evaluation.views import Tta, make_views
from regulo.models.components.classifier import Classifier
from regulo.models.components.sites import find_sites
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

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the K classes, in the order of the columns of all predictions."""
        return self.dataset_info.classes

    def predict(self, images: Iterable[AnyImage], tta: Tta = "off") -> torch.Tensor:
        """The probabilities (n, K) of n images, float32 on the CPU. `images`: paths, arrays (H, W, C) uint8, or PIL images.

        tta: average over each image and its mirror image (`flip`), a zoomed one (`scale`), or both (`all`). Raises InputError
        that names the first image that cannot be read.
        """
        return self._map(images, lambda batch: self.predict_probabilities(batch, tta), self.dataset_info.num_classes)

    def logits(self, images: Iterable[AnyImage]) -> torch.Tensor:
        """The final logits (n, K) of n images, float32 on the CPU; their softmax is what `predict` gives. Raises InputError."""
        return self._map(images, self.predict_logits, self.dataset_info.num_classes)

    def embed(self, images: Iterable[AnyImage]) -> torch.Tensor:
        """The features (n, D) before the head of n images, float32 on the CPU.

        Raises InputError for an image that cannot be read, and for a model without a site before its head.
        """
        return self._map(images, self._features, 0)

    @torch.no_grad()  # not inference_mode: a head can be trained on the features
    def _map(self, images: Iterable[AnyImage], function: Callable[[torch.Tensor], torch.Tensor], width: int) -> torch.Tensor:
        """A function of batches (B, C, H, W) uint8, on all images: (n, …); (0, width) if there is none."""
        if isinstance(images, str | Path) or not isinstance(images, Iterable):
            raise InputError(Problem("images", "this is one image, and a list is needed", "write [image]"))
        image_list = list(images)
        rows = []
        for batch in load_images(image_list, ImageReader(self.config.data, self.dataset_info)):
            for place, error in batch.errors:
                image = image_list[place]
                raise InputError(Problem(str(image) if isinstance(image, str | Path) else f"images[{place}]", error))
            rows.append(function(batch.images).float().cpu())
        return torch.cat(rows) if rows else torch.zeros(0, width)

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        """The features (B, D) before the head, for images (B, C, H, W) uint8."""
        outputs: list[
            torch.Tensor
        ] = []  # of all sites of this kind, in the order of the forward pass: the last one is before the head
        sites = find_sites(self.classifier.model, "fc")
        handles = [site.register_forward_pre_hook(lambda _, inputs: outputs.append(inputs[0])) for site in sites]
        try:
            with autocast(self.config.trainer.precision, self.device):
                self.classifier(images.to(self.device))
        finally:
            for handle in handles:
                handle.remove()
        if not outputs:
            raise InputError(Problem("RUN", f"{self.config.model.name} has no site of the kind 'fc' before its head"))
        return outputs[-1].mean((2, 3)) if outputs[-1].ndim == 4 else outputs[-1]

    def predict_loader(self, loader: Iterable[Batch]) -> EvalOutput:
        """The final predictions of the run on all images of a loader."""
        return run_inference(self.classifier, loader, self.device, self.config.trainer.precision, self.plan, self.temperature)

    def predict_logits(self, images: torch.Tensor) -> torch.Tensor:
        """The final logits (B, K) of the run, on the device, for images (B, C, H, W) uint8."""
        with fixed_seed(self.device):
            outputs = predict_batch(self.classifier, images.to(self.device), self.config.trainer.precision, self.plan)
        return outputs["logits"].float() / self.temperature

    def predict_probabilities(self, images: torch.Tensor, tta: Tta = "off") -> torch.Tensor:
        """The probabilities (B, K) of the run, on the device, for images (B, C, H, W) uint8.

        tta: the mean over these views of each image (test-time augmentation).
        """
        return torch.stack([self.predict_logits(view).softmax(1) for view in make_views(images, tta)]).mean(0)


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
