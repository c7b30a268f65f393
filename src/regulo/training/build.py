"""From a valid config to objects: data, plan and model, together. Training and evaluation both begin here."""

import dataclasses
import functools
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from lightning import seed_everything
from torch import Tensor, nn

from regulo.config.schema import Config, RunConfig, monitors
from regulo.core import affinity
from regulo.core.errors import InputError, Problem
from regulo.core.types import DatasetInfo
from regulo.data.base import images_per_step
from regulo.data.components.datamodule import ImageDataModule
from regulo.data.components.dataset import list_resize
from regulo.data.components.record import open_splits
from regulo.models.components.classifier import Classifier
from regulo.models.components.norms import BATCH_NORM
from regulo.models.components.weights import build_with_weights
from regulo.regularizers.components.plan import Plan
from regulo.tracking.records import DataRecord
from regulo.tracking.run_dir import RunFolder
from regulo.training.autotune import AutotuneResult
from regulo.training.gradient_checkpointing import checkpoint_blocks
from regulo.training.imbalance import IMBALANCE, imbalance_note
from regulo.training.initialization import initialize_model
from regulo.training.placement import place_images


@dataclass(frozen=True)
class RunComponents:
    """What a run is made of, before there is a Trainer."""

    config: Config
    plan: Plan
    data: ImageDataModule
    model: nn.Module
    data_record: DataRecord
    weights_note: str
    """from where the first weights are, for people; empty if they are random"""

    @property
    def batch(self) -> int:
        """Images per step, over all processes."""
        size = self.config.data.batch_size * self.config.optim.accumulate
        return images_per_step(size, len(self.data.train_dataset), self.config.trainer.world_size())

    @property
    def passes(self) -> int:
        """Training passes through the model in the whole run, in each process."""
        per_epoch, limit = max(1, len(self.data.train_dataset) // self.batch), self.config.trainer.limit_batches
        return self.config.trainer.max_epochs * min(per_epoch, limit or per_epoch) * self.config.optim.accumulate

    def classifier(self) -> Classifier:
        """The model with its normalization, in the memory format of the config."""
        return Classifier(self.model, self.data.dataset_info, self.config.trainer.memory_format)


def build_components(config: Config, run: RunFolder | None = None) -> RunComponents:
    """Open the data, initialize the model from the seed, and let the plan change both. Raises InputError.

    `run`: the folder of a run, on whose images the new one trains, or which goes on.
    """
    affinity.limit_threads(config.trainer.processes_per_node() if config.trainer.device().type == "cpu" else 1)
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)  # it sets its own level when it is imported
    seed_everything(config.run.seed, verbose=False)
    plan = Plan(config.regularizer.values(), config.run.strength)
    splits, data_record = open_splits(config.data, run)
    _check_monitor(config.run, splits.dataset_info.num_classes)
    placement = place_images(config.data, splits, plan, config.trainer.device())
    config = apply_placement(config, placement.choice)
    transform_plan, epochs = plan.with_hook("transform"), config.trainer.max_epochs  # loaders need nothing else of the plan
    data = ImageDataModule(
        config.data,
        splits,
        config.run.seed,
        config.trainer.limit_batches,
        functools.partial(_transforms, transform_plan, list_resize(config.data.resize()), epochs, splits.dataset_info),
        plan.sequence,
        config.optim.accumulate,
        placement.device,
        functools.partial(_transform_batch, transform_plan, config.run.seed, epochs),
    )
    data_record = _note_imbalance(data_record, config, data).model_copy(update={"placement": str(placement)})
    model, weights_note = build_with_weights(config.model, splits.dataset_info)
    initialize_model(config.model, model, data)
    model = plan.surgery(model, splits.dataset_info)
    if config.trainer.gradient_checkpointing:
        checkpoint_blocks(model)
    plan.param_groups(model)  # refuses patterns that match nothing while refusing is still cheap
    _refuse_non_finite(model)
    smallest, devices = min(len(s) for s in (data.train_dataset, *data.eval_datasets.values())), config.trainer.world_size()
    if smallest < devices:
        raise InputError(Problem("trainer.devices", f"a split of {smallest} images is too small for {devices} devices"))
    parts = devices * config.optim.accumulate
    smallest_batch = images_per_step(config.data.batch_size * config.optim.accumulate, len(data.train_dataset), devices) // parts
    if smallest_batch <= 1 and any(isinstance(m, BATCH_NORM) for m in model.modules()):
        what = "BatchNorm has no variance in a batch of one image per device"
        raise InputError(Problem("data.batch_size", what, "use at least 2, or +regularizer=norm regularizer.norm.kind=group"))
    return RunComponents(config, plan, data, model, data_record, weights_note)


def _note_imbalance(record: DataRecord, config: Config, data: ImageDataModule) -> DataRecord:
    """The record with a note if classes are imbalanced, instead of that of an earlier run on the same images."""
    notes = [note for note in record.notes if not note.startswith(IMBALANCE)]
    note = imbalance_note(config, data.class_counts(), data.dataset_info.classes)
    return record.model_copy(update={"notes": notes + [note] * bool(note)})


def _check_monitor(run: RunConfig, num_classes: int) -> None:
    """Raises InputError if the monitor is not computed for so few classes."""
    minimum = monitors()[run.monitor].min_classes
    if num_classes < minimum:
        what = f"{run.monitor} says nothing about {num_classes} classes: it needs {minimum} or more"
        raise InputError(Problem("monitor", what, "monitor=val/acc"))


def _refuse_non_finite(model: nn.Module) -> None:
    """Initial weights are finite; those of a file need not be."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            what = f"{name} holds numbers that are not finite before training has begun"
            raise InputError(Problem("model", what, "look at the file of the pretrained weights"))


def _transforms(plan: Plan, resize: list[Any], epochs: int, dataset_info: DatasetInfo, epoch: int) -> list[Any]:
    return plan.transforms(resize, dataset_info, epoch / epochs)


def _transform_batch(plan: Plan, seed: int, epochs: int, images: Tensor, keys: np.ndarray) -> Tensor:
    return plan.transform_batch(images, keys, seed, keys[0, 0] / epochs)


def apply_placement(config: Config, choice: str) -> Config:
    """The config with `data.device` filled in, as it is kept with the run."""
    return dataclasses.replace(config, data=config.data.model_copy(update={"device": choice}))


def apply_autotune(config: Config, choice: AutotuneResult) -> Config:
    """The config with what was measured filled in, as it is kept with the run."""
    return dataclasses.replace(config, trainer=config.trainer.model_copy(update=choice.settings))
