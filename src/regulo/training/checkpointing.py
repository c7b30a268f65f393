"""When a run saves its checkpoints, and where it stops if it is asked to."""

import functools
import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from regulo.config.trainer import TrainerConfig
from regulo.distributed.preemption import RunStoppedError, StopRequest
from regulo.regularizers.base import Goal
from regulo.tracking.run_dir import BEST, LAST


@runtime_checkable
class DefersCheckpoints(Protocol):
    """A callback that can say when its state does not fit into a checkpoint."""

    def defers_checkpoint(self) -> bool:
        """Whether no checkpoint may be saved now."""


class BestCheckpoint(ModelCheckpoint):
    """`best.ckpt`, by the monitor. Its state holds no absolute path: a run folder may be moved, and given away."""

    def __init__(self, folder: Path, goal: Goal) -> None:
        options: dict[str, Any] = {"enable_version_counter": False, "auto_insert_metric_name": False, "save_top_k": 1}
        super().__init__(folder, Path(BEST).stem, monitor=goal.monitor, mode=goal.mode, **options)

    @functools.cached_property
    def state_key(self) -> str:
        """The name in checkpoints; that of runs made before the class had its present name. Lightning asks in every hook."""
        return super().state_key.replace(type(self).__qualname__, "Best", 1)

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.best_model_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        score = state_dict["score"]
        if score is not None:
            path = str(Path(str(self.dirpath)) / BEST)
            self.best_model_score = self.current_score = self.kth_value = score
            self.best_model_path = self.kth_best_model_path = path
            self.best_k_models = {path: score}


class ResumeCheckpoint(Checkpoint):
    """`last.ckpt`: at the end of every epoch, and at intervals of steps and minutes."""

    def __init__(self, folder: Path, config: TrainerConfig) -> None:
        self.path = folder / LAST
        self.every_steps = config.save_every_n_steps or float("inf")
        self.every_seconds = 60 * (config.save_every_minutes or float("inf"))
        self.saved_step, self.saved_at = 0, time.monotonic()
        self.is_finished = False

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        trainer.should_stop = checkpoint["finished"]  # by early stopping, perhaps: Lightning would forget

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["finished"] = self.is_finished

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if at_log_point(trainer) and can_save(trainer) and agree(trainer, self._is_due(trainer)):
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.is_finished = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint, and begin the next interval."""
        trainer.save_checkpoint(self.path)
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()

    def _is_due(self, trainer: Trainer) -> bool:
        steps = trainer.global_step - self.saved_step
        return steps >= self.every_steps or time.monotonic() - self.saved_at >= self.every_seconds


class StopCallback(Checkpoint):
    """Ends the run when it is asked to stop: after the step, with a checkpoint; during validation at once, without a new one.

    Lightning calls what is a `Checkpoint` last: it saves before.
    """

    def __init__(self, request: StopRequest, checkpoint: ResumeCheckpoint) -> None:
        self.request, self.checkpoint = request, checkpoint

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.request.start_training()  # Lightning's own handler talks to other processes from within, which may never return

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if trainer.is_last_batch or (trainer.world_size > 1 and not at_log_point(trainer)):
            return  # several processes agree where they wait for one another anyway; an epoch's end has a checkpoint of its own
        stop = self._agreed_stop(trainer)
        if stop and can_save(trainer):
            if self.checkpoint.saved_step != trainer.global_step:
                self.checkpoint.save(trainer)
            raise stop

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if trainer.world_size == 1 and self.request.signal and (stop := self.request.pending()):
            raise stop  # who sends a signal waits for seconds only; `max_time` can wait for the next checkpoint

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        stop = self._agreed_stop(trainer)
        if stop and not self.checkpoint.is_finished:  # else the run stops after the training
            raise stop

    def _agreed_stop(self, trainer: Trainer) -> RunStoppedError | None:
        """The end that this process was asked for, or another one. All processes call it together."""
        stop = self.request.pending()
        if agree(trainer, stop is not None):
            return stop or RunStoppedError("another process was asked to stop", 143)
        return None


def at_log_point(trainer: Trainer) -> bool:
    """Whether the loss of this step was looked at, and found finite; not at the end of an epoch."""
    return not trainer.is_last_batch and trainer.global_step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]


def can_save(trainer: Trainer) -> bool:
    """Whether every callback's state fits into a checkpoint now."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return not any(isinstance(c, DefersCheckpoints) and c.defers_checkpoint() for c in callbacks)


def agree(trainer: Trainer, condition: bool) -> bool:
    """Whether the condition holds in any process. All of them call it together."""
    return condition if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(condition, all=False)


def checkpoint_callbacks(folder: Path, goal: Goal, trainer: TrainerConfig, request: StopRequest) -> list[Checkpoint]:
    """What saves the checkpoints of a run, and ends it when it is asked to stop; in this order."""
    resume = ResumeCheckpoint(folder, trainer)
    return [BestCheckpoint(folder, goal), resume, StopCallback(request, resume)]
