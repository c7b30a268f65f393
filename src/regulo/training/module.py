"""The task: fold the plan over batch, model, loss and optimizer. It never names a regularizer."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from lightning import LightningModule
from torch import Tensor

from regulo.core.compilation import run_eagerly
from regulo.core.errors import NonFiniteLossError
from regulo.core.metrics.components.running import EvalMetrics, Throughput, TrainMetrics, generalization_gaps
from regulo.core.rng import StepContext, seed_torch, torch_seed
from regulo.core.schedule import RampBuffer
from regulo.core.types import Batch, soft_targets
from regulo.models.components.classifier import Classifier
from regulo.models.components.sites import RateSite
from regulo.optim.base import OptimizerConfig
from regulo.regularizers.components.plan import Plan
from regulo.regularizers.components.replay import is_replay
from regulo.tracking.csv_logger import CSVLogger


class LossOutput(NamedTuple):
    """A training batch that has gone through the plan, the model and the loss."""

    loss: Tensor  # ()
    parts: dict[str, Tensor]  # () each, of the loss
    images: Tensor  # (B, C, H, W): the first view, as the model saw it
    targets: Tensor  # (B, K)
    logits: Tensor  # (V·B, K), V views


def compute_loss(classifier: Classifier, plan: Plan, batch: Batch, class_counts: Tensor, now: StepContext) -> LossOutput:
    """Training's way from a batch on the device to its loss. `class_counts` (K,) float32: training images of each class."""
    targets = soft_targets(batch.labels, len(class_counts))
    first, *others = classifier.normalize(batch.images).split(len(targets))
    first, targets = plan.mix(first, targets, now)
    images = torch.cat([first, *others]) if others else first
    logits = classifier.model(images)
    loss, parts = plan.loss(classifier.model, images, targets, logits, class_counts, now)
    return LossOutput(loss, parts, first, targets, logits)


class ClassificationModule(LightningModule):
    """Trains a classifier. Validation is the plain, unsmoothed NLL; training accuracy comes from a fixed clean subset."""

    may_fuse = True
    """whether the optimizer's one kernel for all parameters takes those of this task"""
    class_counts: Tensor
    """(K,) training images of each class"""

    def __init__(
        self, classifier: Classifier, class_counts: Sequence[int], plan: Plan, optim: OptimizerConfig, seed: int, log_every: int
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.register_buffer("class_counts", torch.tensor(class_counts, dtype=torch.float32), persistent=False)
        self.num_classes = len(class_counts)
        self.plan, self.optim, self.seed, self.log_every = plan, optim, seed, log_every
        self.checkpoint_extra: dict[str, Any] = {}  # plain data that travels in the checkpoint
        self.resume_state: dict[str, Any] = {}  # that of the checkpoint from which the run goes on

    def forward(self, images: Tensor) -> Tensor:
        with run_eagerly():
            return self.classifier(images)

    # ---- training

    def on_fit_start(self) -> None:
        self.train_metrics, self.throughput = TrainMetrics(self.device), Throughput()
        if self.resume_state:
            self.train_metrics.load_state_dict(self.resume_state["meter"])
            self.throughput.load_state_dict(self.resume_state["rate"])
        self.ramp_buffers = [m for m in self.modules() if isinstance(m, RampBuffer | RateSite)]

    def on_train_epoch_start(self) -> None:
        self.throughput.start_epoch()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        context = self.step_context()
        seed_torch(torch_seed(context.seed, context.rank, context.step), self.device)  # dropout differs between ranks
        for ramp in self.ramp_buffers:
            ramp.update(context.progress)
        if self.plan.groups_change:
            optimizer = self.optimizers(use_pl_optimizer=False)
            self.optim.update_groups(optimizer, self.plan.param_groups(self.classifier.model, context.progress))  # type: ignore[arg-type]

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The loss, whose gradient is added to that of the earlier batches of the step. The images are those of the last one."""
        if self.optim.accumulate > 1:
            self.optimizers(use_pl_optimizer=False).zero_grad()  # type: ignore[union-attr]
        *earlier, last = batch.split(self.optim.accumulate)
        for number, part in enumerate(earlier):
            loss = self._compute_part(part, number, len(part.labels) / len(batch.labels)).loss
            with torch.autocast(self.device.type, enabled=False):
                self.trainer.strategy.backward(loss, None)  # inside of DDP's forward pass, in which it reduces no gradients
        output = self._compute_part(last, len(earlier), len(last.labels) / len(batch.labels))
        if not is_replay():
            self.throughput.images += len(batch.labels) * self.trainer.world_size
        return {"loss": output.loss, "images": output.images, "targets": output.targets}

    def _compute_part(self, batch: Batch, number: int, share: float) -> LossOutput:
        """The loss of a batch that is a share of the step, times this share. It draws as if it were on a device of its own."""
        context = self.step_context()
        context = dataclasses.replace(context, rank=context.rank + number * self.trainer.world_size)
        if number:
            seed_torch(torch_seed(context.seed, context.rank, context.step), self.device)
        output = compute_loss(self.classifier, self.plan, batch, self.class_counts, context)
        if not is_replay():
            self.train_metrics.update(output.parts, output.logits[: len(output.targets)], output.targets, share)
        return output if share == 1 else output._replace(loss=output.loss * share)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Lightning calls it before the last backward pass: with several in a step, `training_step` has done it."""
        if self.optim.accumulate == 1:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def step_context(self) -> StepContext:
        """Where the run is."""
        step = self.global_step
        return StepContext(self.seed, self.global_rank, step, step / self.steps)

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip by norm ourselves: Lightning refuses to with fused optimizers (#21435). Every few steps it is a log point, too."""
        is_log_point = not is_replay() and ((self.global_step + 1) % self.log_every == 0 or self.trainer.is_last_batch)
        if self.optim.grad_clip_norm:
            norm = torch.nn.utils.clip_grad_norm_(self.parameters(), self.optim.grad_clip_norm)
        elif is_log_point:
            norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters() if p.grad is not None])
        if is_log_point:
            # Here and in no later hook: the norm is at hand, and a run that has diverged ends before the step spoils its weights.
            self._log_point(norm, optimizer.param_groups[0]["lr"])

    def _log_point(self, norm: Tensor, lr: float) -> None:
        """Read the meters, which waits for the device. Log what they say, or raise NonFiniteLossError."""
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of gradients that are spread over ranks
        loss, acc, penalties = self.train_metrics.compute()
        self._check_finite("training", loss, f", step {self.global_step}")
        row = {
            "train/loss": loss,
            "train/acc": acc,
            "train/grad_norm": float(norm),
            "lr": lr,
            "time": self.throughput.fit_seconds(),
            "train/images_per_second": self.throughput.images_per_second(),
        }
        row |= {f"train/penalty/{name}": value for name, value in penalties.items()}
        row |= {f"strength/{name}": value for name, value in self.plan.ramp_values(self.step_context().progress).items()}
        # `log_dict` would make a metric of each, which takes longer than a step, and leave out the last batch of an epoch
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in row.items()})
        for logger in self.loggers:
            logger.log_metrics(row | {"epoch": self.current_epoch}, step=self.global_step)
        if self.trainer.is_last_batch:
            self.throughput.end_epoch()

    def _check_finite(self, split: str, loss: float, step: str = "") -> None:
        """Raise NonFiniteLossError if a loss is no number, and say what is left and what may help."""
        if math.isfinite(loss):
            return
        weights = f"the weights of epoch {self.current_epoch - 1} are kept" if self.current_epoch else "no epoch was finished"
        remedy = f"Try a lower optim.lr (it is {self.optim.lr:g}) or optim.grad_clip_norm=1"
        raise NonFiniteLossError(f"the {split} loss is {loss} in epoch {self.current_epoch}{step}; {weights}. {remedy}")

    # ---- validation: dataloader 0 is val, 1 is the clean part of train

    def on_validation_epoch_start(self) -> None:
        self.eval_metrics = {name: EvalMetrics(self.num_classes, self.device) for name in ("val", "train_clean")}

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        list(self.eval_metrics.values())[dataloader_idx].update(self(batch.images), batch.labels)

    def on_validation_epoch_end(self) -> None:
        scores = {f"{name}/{k}": v for name, metrics in self.eval_metrics.items() for k, v in metrics.compute().items()}
        scores |= generalization_gaps(scores)
        self._check_finite("validation", scores["val/loss"])
        self.log_dict(scores | {"time": self.throughput.fit_seconds()})

    # ---- optimizer

    def configure_optimizers(self) -> Any:
        steps = self.steps = int(self.trainer.estimated_stepping_batches)
        rates = self.optim.lr_factors(steps)
        fused = self.may_fuse and self.device.type in ("cuda", "cpu") and self.trainer.precision != "16-mixed"  # unscaled first
        model = self.classifier.model
        optimizer = self.plan.wrap_optimizer(self.optim.build(self.plan.param_groups(model), fused), model, self.step_context)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(rates[min(step, steps - 1)]))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # ---- stopping and going on

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        num_batches = 0 if self.trainer.is_last_batch else self.trainer.fit_loop.batch_idx + 1
        state = {
            "place": [self.current_epoch + (num_batches == 0), num_batches],  # the epoch, and how many of its batches are done
            "meter": self.train_metrics.state_dict(),
            "rate": self.throughput.state_dict(),
            "rows": sum(logger.sync() for logger in self.loggers if isinstance(logger, CSVLogger)),
        }
        checkpoint["regulo"] = self.checkpoint_extra | state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.resume_state = checkpoint["regulo"]
