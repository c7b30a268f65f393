"""A run that was stopped goes on as if nothing had been. tests/test_resume_matrix.py tries every technique."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from regulo.__main__ import main
from regulo.config import compose
from regulo.core.errors import InputError
from regulo.core.files import atomic_write, file_lock
from regulo.distributed.preemption import RunStoppedError, StopRequest
from regulo.tracking import checkpoint_io, csv_logger, records
from regulo.tracking.run_dir import RunFolder
from regulo.training import resume
from regulo.training.train import Run, record_status
from tests import wandb_file
from tests.interruptions import SHORT, Interruption, differences, rows, train

WORDS = [*SHORT, "model.width=4", "regularizer=[augment,dropout,mixup,ema,weight_decay,early_stopping]"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    assert train([*WORDS, f"run_dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def killed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in its second epoch; copy it before use."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    assert train([*WORDS, f"run_dir={folder}"], Interruption(signal.SIGKILL, step=9)) == -signal.SIGKILL
    return folder


@pytest.fixture
def stopped_run(killed_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed_run, tmp_path / "run"))


INTERRUPTIONS = {
    "killed before there is a checkpoint": (Interruption(signal.SIGKILL, step=1), -9),
    "killed inside an epoch": (Interruption(signal.SIGKILL, step=9), -9),
    "killed at the first step of an epoch": (Interruption(signal.SIGKILL, step=5), -9),
    "killed while validating": (Interruption(signal.SIGKILL, epoch=1), -9),
    "terminated inside an epoch": (Interruption(signal.SIGTERM, step=7), 143),
    "terminated at the last step of an epoch": (Interruption(signal.SIGTERM, step=9), 143),
    "terminated while validating": (Interruption(signal.SIGTERM, epoch=1), 143),
    "terminated at the very last step": (Interruption(signal.SIGTERM, step=14), 143),
    "terminated while its weights are scored": (Interruption(signal.SIGTERM, scoring=True), 143),
    "killed while its weights are scored": (Interruption(signal.SIGKILL, scoring=True), -9),
    "left alone by its terminal": (Interruption(signal.SIGHUP, step=7), 129),
    "interrupted from the keyboard": (Interruption(signal.SIGINT, step=7), 130),
    "told to make way (SLURM)": (Interruption(signal.SIGUSR1, step=7), 138),
}


SHORT_ONES = {"killed inside an epoch", "terminated inside an epoch"}
"""the interruptions of `make test`; the others are long tests"""


@pytest.mark.parametrize(
    "interruption", [pytest.param(i, marks=() if i in SHORT_ONES else pytest.mark.long) for i in INTERRUPTIONS]
)
def test_a_run_that_was_stopped_ends_as_the_unbroken_one(interruption: str, unbroken: Path, tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    how, code = INTERRUPTIONS[interruption]
    assert train([*WORDS, f"run_dir={folder}"], how, log) == code
    if how.number != signal.SIGKILL:
        assert records.read_result(RunFolder.open(folder))["status"] == "interrupted"
        assert f"go on with: regulo train --resume {folder}" in log.read_text()
    assert train(["--resume", str(folder)]) == 0
    assert differences(unbroken, folder) == []
    expected_result, result = records.read_result(RunFolder.open(unbroken)), records.read_result(RunFolder.open(folder))
    times = {"fit_seconds", "images_per_second", "epoch_seconds", "peak_memory_mb"}
    assert {k: v for k, v in result.items() if k not in {*times, "resumed_at"}} == {
        k: v for k, v in expected_result.items() if k not in times
    }
    assert len(result["resumed_at"]) == 1


def test_a_run_can_be_stopped_again_and_again(unbroken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert train([*WORDS, f"run_dir={folder}"], Interruption(signal.SIGTERM, step=1)) == 143
    for step in (6, 12):
        assert train(["--resume", str(folder)], Interruption(signal.SIGKILL, step=step)) == -9
    assert train(["--resume", str(folder)]) == 0
    assert differences(unbroken, folder) == []
    assert records.read_result(RunFolder.open(folder))["resumed_at"] == [2, 5, 10]


def test_when_its_time_is_up_a_run_stops_with_a_checkpoint(unbroken: Path, tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    assert train([*WORDS, f"run_dir={folder}", "trainer.max_time=0:00:00"], log=log) == 124
    assert "trainer.max_time is up" in log.read_text()
    assert train(["--resume", str(folder), "trainer.max_time=null"]) == 0
    assert differences(unbroken, folder) == []


def test_a_run_that_early_stopping_ended_is_only_scored_again(tmp_path: Path) -> None:
    words = [*WORDS, "optim.lr=1e-12", "regularizer.early_stopping.patience=1", "regularizer.early_stopping.min_delta=9"]
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert train([*words, f"run_dir={whole}"]) == 0
    assert records.read_result(RunFolder.open(whole))["epochs"] == 2  # of 3
    shutil.copytree(whole, folder)
    (folder / "result.json").write_text('{"status": "running"}')  # killed while it was scored
    before = (folder / "metrics.csv").read_text()
    assert train(["--resume", str(folder)]) == 0
    assert (folder / "metrics.csv").read_text() == before
    assert differences(whole, folder) == []
    assert records.read_result(RunFolder.open(folder))["epochs"] == 2


# ---- files that are damaged


LINES = ["epoch,step,train/loss\n", *(f"{i // 3},{i},0.{i}\n" for i in range(9))]


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        ("".join(LINES), 0),
        (None, 6),
        ("", 6),
        ("".join(LINES[:4]) + "1,3", 3),
        ("".join(LINES[:6]) + "1,5,0", 1),
        ("".join(LINES[:6]) + "\0" * 20, 1),
        ("".join(LINES[:6]) + "\0" * 20 + "\n" + LINES[7], 1),
        ("".join(LINES[:3]) + "1,\xff,0.3\n" + "".join(LINES[4:]), 4),
        ("".join(LINES[1:]), 6),
    ],
)
def test_rows_are_kept_up_to_the_first_that_is_damaged(content: str | None, missing: int, tmp_path: Path) -> None:
    log = csv_logger.CSVLogger(tmp_path / "metrics.csv")
    if content is not None:
        log.path.write_text(content, encoding="latin-1")
    assert log.truncate(6) == missing
    for i in (6, 7):
        log.log_metrics({"epoch": 2, "train/loss": float(f"0.{i}")}, i)
    assert log.rows == 8 - missing
    assert log.path.read_text() == "".join([*LINES[: 7 - missing], *LINES[7:9]])


def test_a_file_that_is_removed_while_it_is_written_gets_its_header_again(tmp_path: Path) -> None:
    log = csv_logger.CSVLogger(tmp_path / "metrics.csv")
    for i in range(2):
        log.log_metrics({"epoch": 0, "train/loss": 0.5}, i)
        log.path.unlink()
    log.log_metrics({"epoch": 0, "train/loss": 0.5}, 2)
    assert log.path.read_text() == "epoch,step,train/loss\n0,2,0.5\n"


@pytest.mark.parametrize("content", ["", '{"status": "do'])
def test_a_resumed_run_tells_what_it_has_lost_and_makes_again_what_it_can(
    content: str, stopped_run: Path, unbroken: Path, tmp_path: Path
) -> None:
    for name in ("result.json", "environment.json", "plan.json"):
        (stopped_run / name).write_text(content)
    file = stopped_run / "metrics.csv"
    file.write_text(file.read_text()[:-9] if content else "")
    rows = checkpoint_io.read_checkpoint(stopped_run / "checkpoints" / "last.ckpt")["regulo"]["rows"]
    log = tmp_path / "log"
    assert train(["--resume", str(stopped_run), "+callbacks.confusion={}"], log=log) == 0
    output = log.read_text()
    for name in ("result.json", "environment.json"):
        assert output.count(f"{name} cannot be read") == 1
    assert (f"metrics.csv has lost {rows} of the {rows} rows before the checkpoint; the run goes on" in output) is (not content)
    assert (stopped_run / "figures" / "confusion.png").is_file()
    assert [d for d in differences(unbroken, stopped_run) if not d.startswith("metrics.csv")] == []


@pytest.mark.parametrize("left", [[".lock"], [".lock", "config.yaml.part"], ["figures/"], []])
def test_a_folder_whose_run_has_not_begun_counts_as_empty(left: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in left:
        (folder / name).mkdir() if name.endswith("/") else (folder / name).write_text("")
    RunFolder.check_available(str(folder))
    RunFolder.create(str(folder), "run").claim()


@pytest.mark.parametrize("name", ["config.yaml", "figures/x.png", "notes.txt"])
def test_a_folder_with_anything_else_is_in_use(name: str, tmp_path: Path) -> None:
    file = tmp_path / "run" / name
    file.parent.mkdir(parents=True)
    file.write_text("")
    folder = RunFolder(tmp_path / "run")
    for check in (
        lambda: RunFolder.check_available(str(folder.path)),
        lambda: RunFolder.create(str(folder.path), "x"),
        folder.claim,
    ):
        with pytest.raises(InputError, match="empty"):
            check()


def test_the_configuration_is_the_first_file_of_a_run(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From then on a kill leaves a folder that can go on; before, one that counts as empty."""
    files = []
    monkeypatch.setattr(
        "regulo.tracking.run_dir.atomic_write", lambda path, text: files.append(path.name) or atomic_write(path, text)
    )
    run()
    assert files[:2] == ["config.yaml", "result.json"]


def test_rows_are_on_disk_before_a_checkpoint_counts_them(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    def record(name: str, function: Any) -> Any:
        return lambda *args, **kwargs: (events.append(name), function(*args, **kwargs))[1]

    monkeypatch.setattr(csv_logger, "sync", record("sync", csv_logger.sync))
    monkeypatch.setattr(csv_logger.CSVLogger, "log_metrics", record("row", csv_logger.CSVLogger.log_metrics))
    monkeypatch.setattr(torch, "save", record("checkpoint", torch.save))
    run()
    assert events.count("checkpoint") >= 4
    for i, event in enumerate(events):
        rows_before = [j for j in range(i) if events[j] == "row"]
        if event == "checkpoint" and rows_before:
            assert "sync" in events[rows_before[-1] : i]
    assert events.count("sync") <= events.count("checkpoint")


# ---- what may be different


def test_what_changes_nothing_that_is_learned_may_change_and_is_said(unbroken: Path, stopped_run: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert train(["--resume", str(stopped_run), "trainer.save_every_minutes=1"], log=log) == 0
    assert "changed: trainer.save_every_minutes: 1 instead of 5.0" in log.read_text()
    assert RunFolder.open(stopped_run).read_config()["trainer"]["save_every_minutes"] == 1
    assert differences(unbroken, stopped_run) == []


@pytest.mark.parametrize(
    "change",
    ["optim.lr=0.5", "seed=1", "trainer.max_epochs=4", "data.batch_size=32", "regularizer.mixup.alpha=0.3", "strength=2"],
)
def test_what_would_make_it_another_run_is_refused(change: str, stopped_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {f: f.read_bytes() for f in stopped_run.rglob("*") if f.is_file()}
    assert main(["train", "--resume", str(stopped_run), change]) == 2
    output = capsys.readouterr().err
    assert change.partition("=")[0] in output
    assert "begin a new run" in output
    assert {f: f.read_bytes() for f in stopped_run.rglob("*") if f.is_file()} == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resume"], "needs the folder of a run"),
        (["--resume", "nowhere"], "there is no folder and no run"),
        (["--resume", "RUN", "model=vit_tiny"], "is no change of one value"),
        (["--resume", "RUN", "optim.lr=1,2"], "is no change of one value"),
        (["--resume", "RUN", "optim.rl=1"], "optim.rl"),
        (["--resume", "RUN", "run_dir=elsewhere"], "goes on where it is"),
    ],
)
def test_bad_words_are_refused(words: list[str], message: str, stopped_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *(str(stopped_run) if w == "RUN" else w for w in words)]) == 2
    assert message in capsys.readouterr().err


def test_a_config_that_somebody_has_edited_is_refused(stopped_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = stopped_run / "config.yaml"
    file.write_text(file.read_text().replace("lr: 0.2", "lr: 0.3"))
    assert main(["train", "--resume", str(stopped_run)]) == 2
    assert "optim.lr: config.yaml has 0.3, and" in capsys.readouterr().err


@pytest.mark.parametrize("section", ["trainer", "optim", "data", "model"])
@pytest.mark.parametrize("content", ["", ": null", ": 3", ": [1]"], ids=["missing", "null", "number", "list"])
def test_a_config_whose_section_is_no_mapping_is_refused(
    section: str, content: str, stopped_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = stopped_run / "config.yaml"
    lines = file.read_text().splitlines(keepends=True)
    begin = lines.index(f"{section}:\n")
    end = next(i for i in range(begin + 1, len(lines)) if not lines[i].startswith((" ", "-")))
    file.write_text("".join([*lines[:begin], f"{section}{content}\n" if content else "", *lines[end:]]))
    assert main(["train", "--resume", str(stopped_run)]) == 2
    assert section in capsys.readouterr().err


def test_a_folder_may_have_an_equals_sign(stopped_run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(stopped_run, tmp_path / "lr=0.1")
    resumable = resume.parse_resume(["--resume", str(other)])
    assert resumable
    assert resumable.folder.path == other.resolve()


def test_a_run_that_went_on_meanwhile_is_refused(stopped_run: Path) -> None:
    resumable = resume.parse_resume(["--resume", str(stopped_run)])
    assert resumable
    resumable.claim()
    file = stopped_run / "checkpoints" / "last.ckpt"
    torch.save(checkpoint_io.read_checkpoint(file), file.with_suffix(".part"))
    file.with_suffix(".part").replace(file)
    with pytest.raises(InputError, match="went on meanwhile"):
        resumable.claim()


@pytest.mark.parametrize("damage", ["missing", "torn"])
def test_without_the_best_epochs_weights_nothing_is_started(
    damage: str, stopped_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = stopped_run / "checkpoints" / "best.ckpt"
    file.unlink() if damage == "missing" else file.write_bytes(file.read_bytes()[:999])
    assert main(["train", "--resume", str(stopped_run)]) == 2
    assert "best.ckpt, which an earlier epoch has left, is missing or torn" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["place", "images", "rows", "meter"])
def test_a_checkpoint_that_does_not_say_where_it_lies_is_refused(
    part: str, stopped_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = stopped_run / "checkpoints" / "last.ckpt"
    checkpoint = checkpoint_io.read_checkpoint(file)
    checkpoint["regulo"][part] = "\x1b[2J"
    torch.save(checkpoint, file)
    assert main(["train", "--resume", str(stopped_run)]) == 2
    output = capsys.readouterr().err
    assert f"is not what Regulo writes: {part}" in output
    assert "\x1b" not in output


def test_a_run_that_is_done_has_nothing_to_go_on_with(unbroken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", str(unbroken)]) == 2
    assert "is done" in capsys.readouterr().err


def test_a_run_that_another_process_trains_is_refused(
    stopped_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regulo.tracking.run_dir.LOCK_GRACE_SECONDS", 0.2)
    with file_lock(stopped_run / ".lock"):
        assert main(["train", "--resume", str(stopped_run)]) == 2
    assert "is being trained by another process" in capsys.readouterr().err


def test_other_images_are_refused(stopped_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = stopped_run / "checkpoints" / "last.ckpt"
    checkpoint = checkpoint_io.read_checkpoint(file)
    checkpoint["regulo"]["images"][0] += 1
    torch.save(checkpoint, file)
    assert main(["train", "--resume", str(stopped_run)]) == 2
    assert "trained on other images" in capsys.readouterr().err


def test_a_job_that_the_cluster_starts_again_goes_on_by_itself(unbroken: Path, stopped_run: Path, monkeypatch: Any) -> None:
    again = [*WORDS, f"run_dir={stopped_run}"]
    assert main(["train", *again]) == 2  # the folder is taken
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert main(["train", *again, "seed=1"]) == 2
    assert main(["train", *again]) == 0
    assert differences(unbroken, stopped_run) == []


def test_the_hint_after_ctrl_c_asks_for_no_repair(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path / "run"), "run")
    folder.checkpoints.mkdir()
    (folder.checkpoints / "last.ckpt").touch()
    run = Run(compose.load_config([]), None, folder, None)  # type: ignore[arg-type]
    for error, words in ((KeyboardInterrupt(), "go on with"), (ZeroDivisionError(), "when that is fixed, go on with")):
        with pytest.raises(type(error)) as info, record_status(run):
            raise error
        assert info.value.__notes__ == [f"{words}: {folder.resume_command()}"]


def test_a_slurm_job_that_makes_way_queues_itself_again(tmp_path: Path, monkeypatch: Any) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    script = "from tests.interruptions import Interruption, train_here; train_here({}, Interruption(10, step=4), None)"
    words = script.format([*WORDS, f"run_dir={tmp_path / 'run'}"])
    process = subprocess.run([sys.executable, "-c", words], cwd=Path(__file__).parents[1], check=False)
    assert process.returncode == 138
    assert (tmp_path / "asked").read_text().split() == ["requeue", "4711"]


# ---- torn files


@pytest.mark.parametrize("damage", ["flipped", *(pytest.param(damage, marks=pytest.mark.long) for damage in ("cut", "empty"))])
def test_a_torn_checkpoint_is_recognized_and_the_one_before_is_used(
    damage: str, unbroken: Path, stopped_run: Path, tmp_path: Path
) -> None:
    file, log = stopped_run / "checkpoints" / "last.ckpt", tmp_path / "log"
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    else:
        content[len(content) // 2] ^= 1  # torch itself would read on
    file.write_bytes(content)
    assert train(["--resume", str(stopped_run)], log=log) == 0
    output = [line for line in log.read_text().splitlines() if "going on from previous.ckpt" in line and "not a whole" in line]
    assert len(output) == 1
    assert differences(unbroken, stopped_run) == []


def test_a_torn_checkpoint_does_not_take_the_place_of_the_one_before(unbroken: Path, stopped_run: Path) -> None:
    last, previous = (stopped_run / "checkpoints" / f"{name}.ckpt" for name in ("last", "previous"))
    step = checkpoint_io.read_checkpoint(previous)["global_step"]
    last.write_bytes(b"torn")
    assert train(["--resume", str(stopped_run)], Interruption(signal.SIGKILL, step=step)) == -9
    assert not last.exists()
    assert checkpoint_io.read_checkpoint(previous)["global_step"] == step
    assert train(["--resume", str(stopped_run)]) == 0
    assert differences(unbroken, stopped_run) == []


def test_when_every_checkpoint_is_torn_nothing_is_started(stopped_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("last", "previous"):
        (stopped_run / "checkpoints" / f"{name}.ckpt").write_bytes(b"torn")
    assert main(["train", "--resume", str(stopped_run)]) == 2
    assert capsys.readouterr().err.count("not a whole checkpoint") == 2


def test_a_torn_last_row_of_the_metrics_is_left_behind(unbroken: Path, stopped_run: Path) -> None:
    with (stopped_run / "metrics.csv").open("a") as file:
        file.write("1,0.5,0.")
    assert train(["--resume", str(stopped_run)]) == 0
    assert rows(stopped_run) == rows(unbroken)


def test_the_best_checkpoint_remembers_its_score_and_no_path(killed_run: Path) -> None:
    checkpoint = checkpoint_io.read_checkpoint(killed_run / "checkpoints" / "last.ckpt")["callbacks"]
    (best,) = (state for name, state in checkpoint.items() if name.startswith("Best"))
    assert set(best) == {"score"}


# ---- signals


def test_outside_training_a_signal_acts_at_once_and_inside_at_the_end_of_a_step() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest(None) as request:
        with pytest.raises(RunStoppedError, match="SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
        request = StopRequest(None)
        with request:
            request.start_training()
            os.kill(os.getpid(), signal.SIGTERM)
            assert str(request.pending()) == "SIGTERM"
            with pytest.raises(RunStoppedError, match="SIGTERM"):
                request.end_training()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with StopRequest(None):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


# ---- W&B


def test_wandb_hears_every_row_once(tmp_path: Path) -> None:
    words = [w for w in WORDS if w != "logger=csv"] + ["logger=wandb"]
    folder = tmp_path / "run"
    assert train([*words, f"run_dir={folder}"], Interruption(signal.SIGKILL, step=9)) == -9
    assert train(["--resume", str(folder)]) == 0
    files = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 1
    wandb_rows = [
        (row["trainer/global_step"], "val/loss" in row, "test/acc" in row)
        for row in wandb_file.read_rows(files[0])
        if "trainer/global_step" in row
    ]
    log_rows = [(int(r["step"]), bool(r["val/loss"]), bool(r["test/acc"])) for r in rows(folder)]
    assert wandb_rows == log_rows


# ---- runs that die without a word


def test_a_killed_run_is_read_as_crashed_and_one_that_trains_as_running(stopped_run: Path) -> None:
    folder = RunFolder.open(stopped_run)
    assert json.loads((stopped_run / "result.json").read_text())["status"] == "running"
    assert records.read_result(folder)["status"] == "crashed"
    with file_lock(stopped_run / ".lock"):
        assert records.read_result(folder)["status"] == "running"
        assert records.read_result(folder)["status"] == "running", "reading takes no lock away"
    assert records.read_result(folder)["status"] == "crashed"
    assert main(["report", str(stopped_run)]) == 0
    assert "This run crashed" in (stopped_run / "report.html").read_text()


def test_reading_the_status_does_not_keep_a_run_from_beginning(stopped_run: Path) -> None:
    folder = RunFolder.open(stopped_run)
    with folder.lock():
        assert folder.is_locked()
    assert not folder.is_locked()
    with folder.lock():
        pass
