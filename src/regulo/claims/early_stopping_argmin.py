"""Claim 13: early stopping."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regulo.claims.base import Claim, Finding, Numbers, Row, Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = {
    "in the middle": [0.9, 0.6, 0.4, 0.5, 0.7, 0.8],
    "at the first epoch": [0.3, 0.5, 0.6, 0.7, 0.8, 0.9],
    "at the last epoch": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
    "twice (a tie)": [0.9, 0.4, 0.6, 0.4, 0.5, 0.6],
    "behind a plateau": [0.9, 0.7, 0.7, 0.7, 0.5, 0.6],
}
PATIENCE = 4


class EarlyStoppingArgmin(Claim):
    """t* = argmin of the validation loss, wherever it lies."""

    number = 13
    statement = "Early stopping returns the weights of t* = argmin of the validation loss"
    lesson = (
        "Training stops when the validation loss no longer falls, and the checkpoint with the lowest one is kept. "
        "Loose: the argmin is taken over the epochs that were run; a patience that is too short ends the run before "
        "the true one, above all under a schedule that ends at a low rate."
    )
    source = "Prechelt 1998; Goodfellow et al. 2016, section 7.8, algorithm 7.1; Bishop 1995 (as regularization)"
    method = (
        "The framework's own callbacks and checkpoints around a module whose validation loss follows a given curve "
        "and whose single weight is the epoch: the weight that is handed on must be the (first) argmin among the "
        f"epochs run, and the run must stop {PATIENCE} epochs behind it or at the end. On one process and on two "
        "(gloo)."
    )

    def trials(self, quick: bool) -> list[Trial]:
        names = list(CURVES)
        return [
            Trial(f"{name.split(' (')[0].replace(' ', '-')}-{ranks}", {"curve": name, "ranks": ranks, "losses": CURVES[name]})
            for ranks in (1, 2)
            for name in (names if ranks == 1 else names[:2])
        ]

    def measure(self, trial: Trial, folder: Path) -> Numbers:
        if trial["ranks"] == 1:
            return scripted(trial["losses"], folder / "scripted", 1)
        target = folder / "scripted2"
        target.mkdir(parents=True, exist_ok=True)
        call = f"main({trial['losses']!r}, {str(target)!r})"
        code = f"from regulo.claims.early_stopping_argmin import main\n{call}\n"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("REGULO_")}
        file = target / "spy.py"
        file.write_text(code)
        subprocess.run([sys.executable, str(file)], check=True, env=environment, capture_output=True, timeout=300)
        return json.loads((target / "numbers.json").read_text())

    def judge(self, trials: Sequence[Trial]) -> Finding:
        def right(t: Trial) -> bool:
            best = t["losses"].index(min(t["losses"]))
            return t["handed_on"] == best and t["epochs"] == min(len(t["losses"]), best + 1 + PATIENCE)

        rows = [
            Row(f"argmin {t['curve']}, {t['ranks']} process{'es' * (t['ranks'] > 1)}: epoch handed on", [t["handed_on"]], "g")
            for t in trials
        ]
        correct = sum(map(right, trials))
        return Finding(
            "holds" if correct == len(trials) else "fails",
            f"{correct} of {len(trials)} curves: the weights of the argmin",
            "",
            rows,
        )

    def draw(self, trials: Sequence[Trial], figure: "Figure") -> None:
        axis = figure.subplots()
        for t in (t for t in trials if t["ranks"] == 1):
            (line,) = axis.plot(range(len(t["losses"])), t["losses"], ".-", label=t["curve"], alpha=0.8)
            axis.plot(t["handed_on"], t["losses"][t["handed_on"]], "o", markersize=11, fillstyle="none", color=line.get_color())
        axis.set(xlabel="epoch", ylabel="validation loss", title="circled: the epoch whose weights are handed on")
        axis.legend(fontsize=8)


def scripted(losses: Sequence[float], folder: Path, ranks: int) -> Numbers:
    """Fit a module whose weight is the epoch and whose validation loss is scripted; what the run would hand on."""
    import logging
    import shutil

    import torch
    from lightning import LightningModule, Trainer
    from lightning.pytorch.strategies import DDPStrategy
    from torch.utils.data import DataLoader

    from regulo.checkpoints import keepers, read
    from regulo.regularizers.base import Goal
    from regulo.regularizers.early_stopping import EarlyStopping

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Scripted(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.weight.data.fill_(float(self.current_epoch))
            return 0 * self.weight

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val/loss", torch.tensor(losses[self.current_epoch]), sync_dist=True)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    if ranks == 1:
        shutil.rmtree(folder, ignore_errors=True)
    goal = Goal("val/loss", "min")
    loader: Any = DataLoader(torch.zeros(ranks, 1))  # type: ignore[arg-type]
    trainer = Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy=DDPStrategy(process_group_backend="gloo") if ranks > 1 else "auto",
        max_epochs=len(losses),
        callbacks=[*EarlyStopping(patience=PATIENCE).callbacks(goal), *keepers(folder / "checkpoints", goal)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(Scripted(), loader, loader)
    kept = read(folder / "checkpoints" / "best.ckpt")
    return {"handed_on": round(float(kept["state_dict"]["weight"])), "epochs": trainer.current_epoch, "rank": trainer.global_rank}


def main(losses: Sequence[float], folder: str) -> None:
    """One of two processes; the first one writes the numbers."""
    from regulo.cli import quiet

    quiet()
    numbers = scripted(losses, Path(folder), ranks=2)
    if numbers["rank"] == 0:
        (Path(folder) / "numbers.json").write_text(json.dumps(numbers))
