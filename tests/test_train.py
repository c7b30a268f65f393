"""`regulo train` from end to end, on the shipped data."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from regulo.__main__ import main
from regulo.config import validate
from regulo.core.metrics.base import list_metrics
from regulo.tracking import checkpoint_io
from tests.conftest import FAST, FinishedRun

METRICS = [metric.name for metric in list_metrics(num_classes=10)]
KEYS = {
    *(
        "status",
        "seed",
        "epochs",
        "best_epoch",
        "steps",
        "fit_seconds",
        "images_per_second",
        "epoch_seconds",
        "peak_memory_mb",
        "params",
        "weights",
        "weights_epoch",
    ),
    *(f"{s}/{k}" for s in ("train_clean", "val", "test") for k in METRICS),
    *("gap/acc", "gap/loss"),
}
COMMAND = [sys.executable, "-m", "regulo"]


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return checkpoint_io.read_checkpoint(folder / "checkpoints" / f"{name}.ckpt")["state_dict"]


def test_a_run_leaves_its_folder_and_can_be_evaluated_to_the_last_digit(
    finished_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, result, output = finished_run
    assert set(result) == KEYS
    assert result["status"] == "done"
    assert result["epochs"] == 2
    assert result["steps"] == 4
    for name in (
        "config.yaml",
        "plan.json",
        "metrics.csv",
        "result.json",
        "classes.csv",
        *(f"checkpoints/{name}.ckpt" for name in ("best", "last")),
    ):
        assert (folder / name).is_file(), name
    assert not list(folder.rglob("*.part"))
    for technique in ("augment", "dropout", "weight_decay", "mixup", "cutmix", "early_stopping"):
        assert technique in output
    assert main(["evaluate", str(folder)]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {k: v for k, v in result.items() if k in again} == again
    assert len(again) == 3 * len(METRICS)
    assert main(["evaluate", str(folder), "val"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["val/acc"] == result["val/acc"]


def test_the_saved_config_is_the_resolved_one(finished_run: FinishedRun) -> None:
    folder = finished_run.folder
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["seed"] == 3
    assert config["trainer"]["precision"] != "auto"
    assert validate.validate_config(config).as_dict() == config
    assert checkpoint_io.read_checkpoint(folder / "checkpoints" / "best.ckpt")["regulo"]["config"] == config


def test_one_seed_gives_one_result_with_any_number_of_workers_and_another_seed_another(
    run: Any, finished_run: FinishedRun
) -> None:
    loader = ["seed=3", "trainer=cpu", "data.device=loader"]
    one, two = (weights(run(*loader, f"data.num_workers={n}", name=f"workers{n}")[0]) for n in (0, 2))
    other = weights(run("seed=1", "trainer=cpu", name="other")[0])
    assert one.keys() == two.keys()
    assert all(v.equal(two[k]) for k, v in one.items())
    assert any(not v.equal(other[k]) for k, v in weights(finished_run.folder).items())


MOBILENET = ["model=torchvision", "~model.width", "model.architecture=mobilenet_v3_small", "model.small_stem=false"]


@pytest.mark.parametrize("overrides", [["model=vit_tiny", "model.width=16"], MOBILENET], ids=["vit_tiny", "torchvision"])
def test_every_family_trains(overrides: list[str], run: Any) -> None:
    assert run(*overrides)[1]["status"] == "done"


def test_without_early_stopping_the_last_weights_are_the_final_ones(run: Any, finished_run: FinishedRun) -> None:
    with_it = finished_run.result
    _, without = run("regularizer=none", name="without")
    assert with_it["weights"] == "best"
    assert with_it["weights_epoch"] == with_it["best_epoch"]
    assert without["weights"] == "last"
    assert without["weights_epoch"] == without["epochs"] == 2


@pytest.mark.parametrize(
    ("losses", "best", "stops_after"),
    [
        ([5, 4, 3, 2], 4, 4),  # at the last epoch
        ([1, 2, 3, 4], 1, 3),  # at the first: stopped after two epochs without improvement
        ([3, 2, 2, 2, 1], 2, 4),  # a tie is no improvement: the first of them
        ([3, 1, 2, 0.5, 2, 2, 9], 4, 6),
    ],
)
def test_early_stopping_hands_on_the_weights_of_the_argmin(
    losses: list[float], best: int, stops_after: int, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regulo.core.metrics.components.running import EvalMetrics
    from regulo.training.module import ClassificationModule

    states: dict[int, Any] = {}
    plain = ClassificationModule.on_validation_epoch_end

    def note(self: Any) -> None:
        states[self.current_epoch + 1] = {k: v.clone() for k, v in self.state_dict().items()}
        plain(self)

    script = iter([x for loss in losses for x in (loss, 0.0)])  # val, train_clean, val, …
    monkeypatch.setattr(EvalMetrics, "compute", lambda self: {"acc": 0.5, "loss": float(next(script))})
    monkeypatch.setattr(ClassificationModule, "on_validation_epoch_end", note)
    more = [f"trainer.max_epochs={len(losses)}", "regularizer.early_stopping.patience=2"]
    folder, result = run(*more)
    assert result["best_epoch"] == result["weights_epoch"] == best
    assert result["epochs"] == stops_after
    assert all(v.equal(states[best][k]) for k, v in weights(folder, "best").items())
    assert all(v.equal(states[stops_after][k]) for k, v in weights(folder, "last").items())


def test_evaluate_needs_neither_pretrained_weights_nor_the_statistics_of_today(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from torchvision.models import mobilenet_v3_small

    torch.save(mobilenet_v3_small().state_dict(), tmp_path / "pretrained.pth")
    folder, result = run(*MOBILENET, f"model.weights={tmp_path / 'pretrained.pth'}", "trainer.max_epochs=1")
    (tmp_path / "pretrained.pth").unlink()
    capsys.readouterr()
    assert main(["evaluate", str(folder), "val"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["val/loss"] == result["val/loss"]


def test_the_curves_hold_the_end_of_every_epoch(run: Any) -> None:
    import csv

    folder, _ = run("trainer.log_every_n_steps=50", "trainer.limit_batches=3")
    rows = [r for r in csv.DictReader((folder / "metrics.csv").read_text().splitlines()) if r["train/loss"]]
    assert [(r["epoch"], r["step"]) for r in rows] == [("0", "2"), ("1", "5")]
    assert all(float(r["train/images_per_second"]) > 0 and r["lr"] and r["train/grad_norm"] for r in rows)


def test_a_run_folder_is_never_shared(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    run(name="taken", expect=2)
    assert "run_dir" in capsys.readouterr().err
    assert os.listdir(tmp_path / "taken") == ["file"]


def test_two_runs_in_one_second_get_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from regulo.tracking.run_dir import RunFolder

    monkeypatch.chdir(tmp_path)
    paths = {RunFolder.create(None, "x").path for _ in range(3)}
    assert len(paths) == 3


def test_a_diverging_run_fails_with_1_says_why_and_keeps_the_last_finite_weights(
    run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from regulo.training.module import ClassificationModule

    plain = ClassificationModule.on_train_epoch_start

    def spoil(self: Any) -> None:
        plain(self)
        if self.current_epoch == 1:
            with torch.no_grad():
                self.classifier.model.head.weight.fill_(float("inf"))

    monkeypatch.setattr(ClassificationModule, "on_train_epoch_start", spoil)
    folder, result = run(expect=1)
    assert result["status"] == "failed"
    assert "training loss is nan in epoch 1" in result["error"]
    assert result["error_type"] == "NonFiniteLossError"
    assert "the run failed: the training loss is nan" in capsys.readouterr().err
    for name in ("best", "last"):
        assert all(v.isfinite().all() for v in weights(folder, name).values())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer=gpu"], "no GPU"),
        (["trainer=ddp"], "no GPU"),
        (["trainer=fsdp"], "no GPU"),
        (["trainer=fsdp", "regularizer=[ema]"], "regularizer.ema: cannot run under fsdp: it works on whole weights"),
        (["trainer=mps"], "no Apple GPU"),
        (["trainer=cpu", "trainer.devices=2"], "trainer=ddp_cpu"),
        (["trainer=ddp_cpu", "trainer.devices=auto"], "auto counts GPUs"),
        (["trainer=cpu", "trainer.precision=16-mixed"], "16-mixed needs a GPU"),
        (["trainer=ddp_cpu", "trainer.sync_batchnorm=true"], "sync_batchnorm"),
        pytest.param(["trainer=ddp_cpu", "data.clean_subset=1"], "too small for 2 devices", marks=pytest.mark.long),
        (["~model.width", "model=torchvision", "model.architecture=vit_b_16"], "cannot build vit_b_16 for 1 × 28 × 28"),
        (["regularizer.dropout.conv=0.1", "model=vit_tiny", "model.width=16"], "regularizer.dropout.conv"),
    ],
)
def test_what_this_machine_or_model_cannot_do_is_refused(
    overrides: list[str], message: str, run: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(*overrides, expect=2)
    assert message in capfd.readouterr().err  # also of the processes that a launcher starts
    assert not (tmp_path / "run").exists()


def test_what_the_data_refuse_leaves_no_folder(run: Any, tmp_path: Path) -> None:
    _, result = run("data=image_folder", f"data.root={tmp_path / 'nothing'}", expect=2)
    assert result == {}
    assert not (tmp_path / "run").exists()


def test_one_image_per_batch_with_batch_norm_is_refused(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run("data.batch_size=1", expect=2)
    assert "BatchNorm" in capsys.readouterr().err


def test_evaluate_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path), "tset"]) == 2
    assert "did you mean test?" in capsys.readouterr().err
    assert main(["evaluate"]) == 2


def test_callbacks_draw_what_the_network_saw_and_where_it_errs(finished_run: FinishedRun) -> None:
    folder = finished_run.folder
    for name in ("samples", "confusion", "mistakes"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 5_000, name


def test_wandb_works_offline_without_account_and_its_viewer_shows_the_test_scores(run: Any) -> None:
    folder, result = run("logger=wandb", "callbacks=default")
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--summary", "--json", str(folder / "wandb")]
    stdout = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    summary = json.loads(stdout)
    text = json.dumps(summary)
    assert str(result["test/acc"]) in text
    assert "gap/acc" in text
    assert summary["config"]["model"]["name"] == "resnet_small"
    assert len([p for p in (folder / "wandb").iterdir() if p.name.startswith("offline-run")]) == 1


def test_online_logging_is_refused_in_one_line_where_there_is_no_key(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    start = time.perf_counter()
    run("logger=wandb_online", expect=2)
    assert time.perf_counter() - start < 5
    assert "API key" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    run("logger=wandb_online", expect=2)
    assert "127.0.0.1:9 does not answer" in capsys.readouterr().err


def test_a_hostile_or_torn_run_folder_is_refused_and_not_run(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = run("trainer.max_epochs=1")

    class Payload:
        def __reduce__(self) -> object:
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"state_dict": Payload()}, folder / "checkpoints" / "best.ckpt")
    assert main(["evaluate", str(folder)]) == 2
    assert not (tmp_path / "owned").exists()
    (folder / "checkpoints" / "best.ckpt").write_bytes(b"torn")
    assert main(["evaluate", str(folder)]) == 2
    (folder / "config.yaml").write_text("a: [")
    assert main(["evaluate", str(folder)]) == 2
    assert capsys.readouterr().err.count("nothing was started") == 3


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("REGULO_", "PYTEST"))}


def test_two_processes_see_other_images_draw_other_lambdas_and_the_first_one_tests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "spy.py"
    script.write_text(SPY)
    folder = tmp_path / "run"
    more = ["trainer=ddp_cpu", "trainer.devices=2", "regularizer=[mixup,augment,early_stopping,dropout]", "regularizer.mixup.p=1"]
    more += ["callbacks=default", "~callbacks.confusion", "~callbacks.mistakes", "~callbacks.samples"]
    command = [sys.executable, str(script), "train", *FAST, f"run_dir={folder}", "optim.lr=0.01", *more]
    process = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200, check=False)
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
    records = [json.loads((tmp_path / f"rank{r}.json").read_text()) for r in (0, 1)]
    assert records[0]["lambda"] != records[1]["lambda"]
    assert not set(records[0]["indices"]) & set(records[1]["indices"])
    assert len(records[0]["indices"]) == len(records[1]["indices"]) == 2 * 64, "two steps of a whole batch each"
    assert records[0]["weights"] == records[1]["weights"], "the ranks hold one model"
    assert (records[0]["tests"], records[1]["tests"]) == (3, 0), "the three splits are scored on one device"
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "done"
    assert process.stdout.count("epoch   1/2") == 1, "one process speaks"
    assert main(["evaluate", str(folder)]) == 0
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert scores == {k: v for k, v in result.items() if k in scores}


SPY = '''
"""Runs `regulo` and notes what this rank saw."""
import json, os, sys
from pathlib import Path
from regulo.__main__ import main
from regulo.evaluation import inference
from regulo.regularizers import mixup
from regulo.training import module

seen = {"lambda": [], "indices": [], "tests": 0, "weights": 0.0}
plain_mixup, plain_step, plain_answers = mixup.blend, module.ClassificationModule.training_step, inference.run_inference

def note_lambda(values, lam, mode):
    seen["lambda"].append(float(lam[0]))
    return plain_mixup(values, lam, mode)

def note_step(self, batch, batch_idx):
    if self.current_epoch == 0:
        seen["indices"] += batch.indices.tolist()
    return plain_step(self, batch, batch_idx)

def note_answers(*a, **k):
    seen["tests"] += 1
    return plain_answers(*a, **k)

def note_end(self):
    seen["weights"] = sum(p.double().abs().sum().item() for p in self.parameters())

mixup.blend, module.ClassificationModule.training_step, inference.run_inference = note_lambda, note_step, note_answers
module.ClassificationModule.on_train_end = note_end
code = main(sys.argv[1:])
if "LOCAL_RANK" in os.environ:  # the launcher is no rank
    Path(__file__).with_name(f"rank{os.environ['LOCAL_RANK']}.json").write_text(json.dumps(seen))
sys.exit(code)
'''


def test_sigterm_ends_a_run_with_143_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    slow = [*COMMAND, "train", *FAST, f"run_dir={folder}", "trainer.max_epochs=500", "regularizer=none"]
    process = subprocess.Popen(slow, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 120
    while not (folder / "checkpoints" / "last.ckpt").exists() and time.time() < deadline and process.poll() is None:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
    assert all(v.isfinite().all() for v in weights(folder).values())


def test_predict_agrees_with_evaluate_and_needs_no_data_set(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import csv
    import shutil

    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for k, name in enumerate(("dark", "light")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(20):
            image = rng.integers(0, 60, (20 + i, 24, 3), dtype="uint8") + np.uint8(190 * k)
            Image.fromarray(image).save(tmp_path / "images" / name / f"{i}.png")
    overrides = ["data=image_folder", f"data.root={tmp_path / 'images'}", "data.image_size=16", "data.batch_size=8"]
    folder, result = run(
        *overrides, "regularizer=[augment]", "trainer.max_epochs=6", "trainer.limit_batches=null", "model.width=8"
    )
    assert result["test/acc"] == 1.0
    shutil.move(tmp_path / "images", tmp_path / "moved")
    (tmp_path / "moved" / "dark" / "torn.png").write_text("no image")
    capsys.readouterr()
    assert main(["predict", str(folder), str(tmp_path / "moved")]) == 1
    output = capsys.readouterr()
    assert "torn.png" in output.err
    rows = list(csv.DictReader(output.out.splitlines()))
    assert len(rows) == 40
    assert all(row["class"] == Path(row["path"]).parent.name for row in rows)
    assert main(["predict", str(folder), str(tmp_path / "nothing")]) == 2
