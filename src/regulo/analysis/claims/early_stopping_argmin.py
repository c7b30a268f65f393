"""Claim 13: early stopping."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regulo.analysis.claims.base import Claim, ClaimResult, ClaimRow, ClaimTrial, Numbers

if TYPE_CHECKING:
    from lightning import LightningModule
    from matplotlib.figure import Figure

CURVES = {
    "in the middle": [0.9, 0.6, 0.4, 0.5, 0.7, 0.8],
    "at the first epoch": [0.3, 0.5, 0.6, 0.7, 0.8, 0.9],
    "at the last epoch": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
    "twice (a tie)": [0.9, 0.4, 0.6, 0.4, 0.5, 0.6],
    "after a plateau": [0.9, 0.7, 0.7, 0.7, 0.5, 0.6],
}
PATIENCE = 4


class EarlyStoppingArgmin(Claim):
    """The final weights are those of t* = argmin of the validation loss."""

    number = 13
    statement = "Early stopping returns the weights of t* = the first argmin of the validation loss among the epochs run"
    lesson = (
        "Training stops when the validation loss no longer falls, and the checkpoint with the lowest one is kept. "
        "Not precise: the argmin is over the epochs that were run; with a patience that is too short, the run ends "
        "before the true one, especially under a schedule that ends at a low rate."
    )
    reference = "Prechelt 1998; Goodfellow et al. 2016, section 7.8, algorithm 7.1; Bishop 1995 (as regularization)"
    method = (
        "The framework's own callbacks, checkpoints and plan with a module whose validation loss follows a fixed "
        "curve and whose single weight is the epoch: the final weight must be the first argmin, and the run must stop "
        f"{PATIENCE} epochs after it or at the end. On one process, and on two (gloo), where each process alone has "
        "another argmin than both together."
    )

    def trials(self, quick: bool) -> list[ClaimTrial]:
        return [ClaimTrial(f"{ranks}-process{'es' * (ranks > 1)}", {"ranks": ranks}) for ranks in (1, 2)]

    def measure(self, trial: ClaimTrial, folder: Path) -> Numbers:
        target = folder / "scripted" / str(trial["ranks"])
        shutil.rmtree(target, ignore_errors=True)
        if trial["ranks"] == 1:
            return {"ends": [fit_scripted(losses, target / str(i), 1) for i, losses in enumerate(CURVES.values())]}
        target.mkdir(parents=True)
        file = target / "both.py"
        file.write_text(f"from regulo.analysis.claims.early_stopping_argmin import main\nmain({str(target)!r})\n")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("REGULO_")}
        command = [sys.executable, str(file)]
        process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        if process.returncode:
            raise RuntimeError(process.stderr[-500:])
        return {"ends": json.loads((target / "numbers.json").read_text())}

    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        rows, correct = [], 0
        for t in trials:
            for (name, losses), end in zip(CURVES.items(), t["ends"], strict=True):
                best = losses.index(min(losses))
                correct += end["handed_on"] == best and end["epochs"] == min(len(losses), best + 1 + PATIENCE)
                label = f"{t['ranks']} process{'es' * (t['ranks'] > 1)}, argmin {name} (epoch {best}): epoch of the final weights"
                rows.append(ClaimRow(label, [end["handed_on"]], "g"))
        cases = len(CURVES) * len(trials)
        evidence = f"in {correct} of {cases} cases the final weights are those of the first argmin, and the run ends as it should"
        return ClaimResult("holds" if correct == cases else "fails", evidence, rows)

    def draw(self, trials: Sequence[ClaimTrial], figure: "Figure") -> None:
        axis = figure.subplots()
        for i, ((name, losses), end) in enumerate(zip(CURVES.items(), trials[0]["ends"], strict=True)):
            axis.plot(range(len(losses)), losses, ".-", color=f"C{i}", label=name, alpha=0.8)
            axis.plot(end["handed_on"], losses[end["handed_on"]], "o", markersize=11, fillstyle="none", color=f"C{i}")
        axis.set(xlabel="epoch", ylabel="validation loss", title="circles: epoch of the final weights")
        axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), title="argmin")


def fit_scripted(losses: Sequence[float], folder: Path, ranks: int) -> Numbers:
    """Fit a module whose weight is the epoch and whose validation loss is fixed per epoch.

    Returns the epoch of the final weights ("handed_on"), the number of epochs, and the rank.
    """
    import logging

    import torch
    from lightning import Trainer
    from lightning.pytorch.strategies import DDPStrategy
    from torch.utils.data import DataLoader

    from regulo.config.trainer import TrainerConfig
    from regulo.distributed.preemption import StopRequest
    from regulo.regularizers.base import Goal
    from regulo.regularizers.components.plan import Plan
    from regulo.regularizers.early_stopping import EarlyStopping
    from regulo.tracking.checkpoint_io import load_final_checkpoint
    from regulo.tracking.run_dir import RunFolder
    from regulo.training.checkpointing import checkpoint_callbacks

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    run, plan = RunFolder(folder), Plan([EarlyStopping(patience=PATIENCE)])
    goal = Goal("val/loss", "min")
    loader: Any = DataLoader(torch.zeros(ranks, 1))  # type: ignore[arg-type]
    trainer = Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy=DDPStrategy(process_group_backend="gloo") if ranks > 1 else "auto",
        max_epochs=len(losses),
        callbacks=[*plan.callbacks(goal), *checkpoint_callbacks(run.checkpoints, goal, TrainerConfig(), StopRequest(None))],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(build_scripted_module(losses, ranks), loader, loader)
    checkpoint = load_final_checkpoint(run, plan.keeps_best)
    epoch = round(float(checkpoint["state_dict"]["weight"]))
    return {"handed_on": epoch, "epochs": trainer.current_epoch, "rank": trainer.global_rank}


def build_scripted_module(losses: Sequence[float], ranks: int) -> "LightningModule":
    """A module whose weight is the epoch and whose validation loss in epoch i is losses[i].

    On two ranks each adds an offset of its own, so that it has another argmin; the offsets cancel in the mean.
    """
    import torch
    from lightning import LightningModule

    class ScriptedModule(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.weight.data.fill_(float(self.current_epoch))
            return 0 * self.weight

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            offset = 0.3 * (3 * self.current_epoch % 5 - 2) * (1 - 2 * self.global_rank) if ranks > 1 else 0.0
            self.log("val/loss", torch.tensor(losses[self.current_epoch] + offset), sync_dist=True)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    return ScriptedModule()


def main(folder: str) -> None:
    """Fit all curves as one of two processes; rank 0 writes the numbers."""
    from regulo.core.warnings import ignore_harmless_warnings

    ignore_harmless_warnings()
    ends = [fit_scripted(losses, Path(folder) / str(i), ranks=2) for i, losses in enumerate(CURVES.values())]
    if ends[0]["rank"] == 0:
        (Path(folder) / "numbers.json").write_text(json.dumps(ends))
