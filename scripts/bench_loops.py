"""The training loops that `make bench` compares: Regulo's own, and three ways in which people write one.

All of them train the same network with the same optimizer, precision, memory format and number of loader processes.
"""

import contextlib
import io
import tempfile
from typing import Any
from unittest import mock

import torch
from bench_turns import Clock, Loop
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from regulo.config.overrides import Overrides
from regulo.config.schema import Config
from regulo.core.precision import autocast
from regulo.core.rng import StepContext
from regulo.core.types import Batch, Split, soft_cross_entropy, soft_targets
from regulo.training.build import RunComponents, build_components
from regulo.training.module import ClassificationModule
from regulo.training.train import train


def run_regulo(config: Config, clock: Clock) -> None:
    """`regulo train`, with all that it does by default: W&B (offline), checkpoints, figures, validation."""
    start_epoch, start_step = ClassificationModule.on_train_epoch_start, ClassificationModule.training_step

    def on_train_epoch_start(task: ClassificationModule) -> None:
        start_epoch(task)
        clock.start_epoch()

    def training_step(task: ClassificationModule, batch: Batch, batch_idx: int) -> Any:
        clock.step()
        return start_step(task, batch, batch_idx)

    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        for function in (on_train_epoch_start, training_step):
            stack.enter_context(mock.patch.object(ClassificationModule, function.__name__, function))
        train([*Overrides.from_config(config).to_args(), f"run_dir={folder}/run"])


class PlainLoop:
    """A loop over batches, with nothing else: no logging, no metrics, no callbacks."""

    def __init__(self, config: Config) -> None:
        self.config, self.components = config, build_components(config)
        self.device = config.trainer.device()
        self.classifier = self.components.classifier().to(self.device).train()
        self.optimizer = config.optim.build(self.components.plan.param_groups(self.classifier.model), fused=True)
        self.loader = self.make_loader(self.components)
        self.lr_factors = config.optim.lr_factors(config.trainer.max_epochs * len(self.loader))

    def make_loader(self, components: RunComponents) -> Any:
        """The batches of an epoch."""
        return components.data.train_dataloader()

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.loader.batch_sampler.sampler.set_epoch(epoch)

    def loss(self, batch: Any, step: int) -> Tensor:
        """The loss of a batch."""
        images = self.classifier.normalize(batch.images.to(self.device, non_blocking=True))
        targets = soft_targets(batch.labels.to(self.device, non_blocking=True), self.components.data.dataset_info.num_classes)
        images, targets = self.components.plan.mix(images, targets, StepContext(0, step=step))
        return soft_cross_entropy(self.classifier.model(images), targets).mean()

    def run(self, clock: Clock) -> None:
        """Train."""
        step = 0
        for epoch in range(self.config.trainer.max_epochs):
            self.set_epoch(epoch)
            clock.start_epoch()
            for batch in self.loader:
                clock.step()
                with autocast(self.config.trainer.precision, self.device):
                    loss = self.loss(batch, step)
                for group in self.optimizer.param_groups:
                    group["lr"] = self.config.optim.lr * float(self.lr_factors[step])
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if self.config.optim.grad_clip_norm:
                    nn.utils.clip_grad_norm_(self.classifier.parameters(), self.config.optim.grad_clip_norm)
                self.optimizer.step()
                step += 1


def run_plain_loop(config: Config, clock: Clock) -> None:
    """The shortest loop."""
    PlainLoop(config).run(clock)


class PillowImages(Dataset[Any]):
    """Images as Pillow has them, as timm's folders give them; its loader sets the transform."""

    def __init__(self, split: Split) -> None:
        self.split, self.transform = split, None

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(self.split.images[index].squeeze())
        return self.transform(image) if self.transform else image, int(self.split.labels[index])


class TimmLoop(PlainLoop):
    """timm's loader (crop, flip, mixup and CutMix in its collate function, prefetcher) and its task, as in its train.py."""

    def make_loader(self, components: RunComponents) -> Any:
        """The loader of timm."""
        from timm.data.loader import create_loader
        from timm.data.mixup import FastCollateMixup
        from timm.loss.cross_entropy import SoftTargetCrossEntropy
        from timm.task import ClassificationTask

        self.task = ClassificationTask(self.classifier.model, SoftTargetCrossEntropy(), device=self.device, verbose=False)
        info = components.data.dataset_info
        return create_loader(
            PillowImages(components.data.train_dataset.split),  # type: ignore[arg-type]
            input_size=(info.channels, info.height, info.width),
            batch_size=self.config.data.batch_size,
            is_training=True,
            color_jitter=0.0,
            mean=info.mean,
            std=info.std,
            num_workers=components.data.num_workers(),
            collate_fn=FastCollateMixup(mixup_alpha=0.2, cutmix_alpha=1.0, num_classes=info.num_classes),
            device=self.device,
        )

    def set_epoch(self, epoch: int) -> None:
        """Nothing: timm's sampler draws anew."""

    def loss(self, batch: Any, step: int) -> Tensor:
        """The loss of its task."""
        images, targets = batch
        return self.task(images, targets)["loss"]


def run_timm_loop(config: Config, clock: Clock) -> None:
    """The loader and the step of timm."""
    TimmLoop(config).run(clock)


class PlainModule(LightningModule):
    """A LightningModule as its documentation shows it: loss and accuracy are logged in every step, and shown in the bar."""

    def __init__(self, config: Config, components: RunComponents, clock: Clock) -> None:
        super().__init__()
        self.config, self.components, self.clock = config, components, clock
        self.classifier = components.classifier()

    def on_train_epoch_start(self) -> None:
        """Tell the clock."""
        self.clock.start_epoch()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss ()."""
        self.clock.step()
        targets = soft_targets(batch.labels, self.components.data.dataset_info.num_classes)
        context = StepContext(0, step=self.global_step)
        images, targets = self.components.plan.mix(self.classifier.normalize(batch.images), targets, context)
        logits = self.classifier.model(images)
        loss = soft_cross_entropy(logits, targets).mean()
        accuracy = (logits.argmax(1) == targets.argmax(1)).float().mean()
        self.log_dict({"train_loss": loss, "train_acc": accuracy}, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """Those of the run, with its learning rate in every step."""
        optim, steps = self.config.optim, int(self.trainer.estimated_stepping_batches)
        rates = optim.lr_factors(steps)
        optimizer = optim.build(self.components.plan.param_groups(self.classifier.model), fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(rates[min(step, steps - 1)]))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def run_plain_module(config: Config, clock: Clock) -> None:
    """Lightning's Trainer with its defaults: progress bar, CSV log, checkpoints."""
    components = build_components(config)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = Trainer(
            accelerator=config.trainer.accelerator,
            devices=1,
            precision=config.trainer.precision,  # type: ignore[arg-type]
            max_epochs=config.trainer.max_epochs,
            logger=CSVLogger(folder),
            default_root_dir=folder,
            use_distributed_sampler=False,
            enable_model_summary=False,
        )
        trainer.fit(PlainModule(config, components, clock), components.data.train_dataloader())


LOOPS: dict[str, Loop] = {
    "regulo train": run_regulo,
    "bare loop": run_plain_loop,
    "plain LightningModule": run_plain_module,
    "timm's loader and step": run_timm_loop,
}
