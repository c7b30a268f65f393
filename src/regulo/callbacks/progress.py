"""Progress: one line per epoch, and on a terminal a bar that moves only at log points."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from regulo.callbacks.base import CallbackConfig, FigureContext

if TYPE_CHECKING:
    from lightning.pytorch import Callback


class Progress(CallbackConfig):
    """Loss, accuracy and speed during training; the device is never waited for between log points."""

    def callbacks(self, context: FigureContext) -> "list[Callback]":
        from lightning import LightningModule, Trainer
        from lightning.pytorch import Callback
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        class ProgressCallback(Callback):
            def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
                self.is_visible = trainer.is_global_zero
                self.console = Console()
                columns = [TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
                self.bar = Progress(
                    *columns,
                    TextColumn("{task.fields[metrics]}"),
                    console=self.console,
                    transient=True,
                    disable=not (self.is_visible and self.console.is_terminal),
                )
                total = int(trainer.estimated_stepping_batches)
                self.task = self.bar.add_task("", total=total, completed=trainer.global_step, epoch="1", metrics="")
                self.bar.start()

            def on_train_batch_end(
                self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
            ) -> None:
                if trainer.global_step % trainer.log_every_n_steps == 0 or trainer.is_last_batch:  # type: ignore[attr-defined]
                    metrics, epoch = _format_step(trainer.callback_metrics), str(trainer.current_epoch + 1)
                    self.bar.update(self.task, completed=trainer.global_step, metrics=metrics, epoch=epoch)

            def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
                if not self.is_visible:
                    return
                text = f"epoch {trainer.current_epoch + 1:3d}/{trainer.max_epochs}  {_format_epoch(trainer.callback_metrics)}"
                self.console.print(text, highlight=False, soft_wrap=True)

            def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
                if hasattr(self, "bar"):
                    self.bar.stop()

        return [ProgressCallback()]


def _format_step(metrics: Mapping[str, Tensor]) -> str:
    """The text of the bar during an epoch."""
    m = {name: float(metrics[f"train/{name}"]) for name in ("loss", "acc", "images_per_second")}
    return f"loss {m['loss']:.3f}  acc {m['acc']:.3f}  {m['images_per_second']:,.0f} images/s"


def _format_epoch(metrics: Mapping[str, Tensor]) -> str:
    """The line that is printed after an epoch."""
    m = {name: float(value) for name, value in metrics.items()}
    return (
        f"loss {m['train/loss']:.3f}  clean train {m['train_clean/acc']:.3f}  val {m['val/acc']:.3f} (loss {m['val/loss']:.3f})"
        f"  gap {m['gap/acc']:+.3f}  {m['train/images_per_second']:,.0f}/s"
    )
