"""Disks that are full, removed or read-only; long and strange names; a clock that is set back."""

import datetime
import os
import shutil
import subprocess
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from regulo.tracking import run_dir
from regulo.tracking.run_dir import RunFolder
from tests.faults.conftest import EPOCH, NOTHING, RUN, Fault, fill


@pytest.mark.fault(
    "The disk is full when a checkpoint is written",
    says="regulo: the run failed: run_dir: cannot write to …: disk full (No space left on device) — make room",
    code=1,
    keeps=EPOCH,
)
def test_full_disk_under_a_checkpoint(fault: Fault, disk: Path, in_epoch_1: Any) -> None:
    fault.folder = disk / "run"
    checkpoints = {}

    def inject(task: Any) -> None:
        checkpoints.update({p: p.read_bytes() for p in fault.folder.glob("checkpoints/*")})
        fill(disk, leave=32768)

    in_epoch_1(inject)
    result = fault.train()
    assert result["status"] == "failed"
    assert "disk full" in result["error"]
    assert len(checkpoints) == 2
    assert {p: p.read_bytes() for p in fault.folder.glob("checkpoints/*")} == checkpoints, "the old checkpoints are untouched"


@pytest.mark.fault(
    "The disk is full when the curves are written",
    says="regulo: the run failed: run_dir: cannot write to …: disk full (No space left on device) — make room",
    code=1,
    keeps=EPOCH,
)
def test_full_disk_under_the_curves(fault: Fault, in_epoch_1: Any) -> None:
    def inject(task: Any) -> None:
        (fault.folder / "metrics.csv").unlink()
        (fault.folder / "metrics.csv").symlink_to("/dev/full")

    in_epoch_1(inject)
    assert fault.train()["status"] == "failed"


@pytest.mark.fault(
    "The disk is full when the result is written",
    says="regulo: the run failed: run_dir: cannot write to …: disk full (No space left on device) — make room",
    code=1,
    keeps="the weights: `regulo evaluate` gives the scores",
)
def test_full_disk_under_the_result(fault: Fault, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from regulo.__main__ import main
    from regulo.training import train

    original = train.final_evaluation

    def final_evaluation(*args: Any) -> Any:
        result = original(*args)
        fill(disk, leave=0)
        return result

    fault.folder = disk / "run"
    monkeypatch.setattr(train, "final_evaluation", final_evaluation)
    assert fault.train()["status"] == "running", "the new status cannot be written"
    assert main(["evaluate", str(fault.folder), "val"]) == 0


@pytest.mark.fault("The disk is full when W&B writes its offline copy", says="", code=0, keeps=RUN)
def test_full_disk_under_wandb(fault: Fault, disk: Path, in_epoch_1: Any) -> None:
    def inject(task: Any) -> None:
        (wandb,) = (fault.folder / "wandb").glob("offline-run*")
        subprocess.run(["mount", "--bind", disk, wandb], check=True)

    fill(disk, leave=0)
    in_epoch_1(inject)
    try:
        fault.train("logger=wandb")
    finally:
        for wandb in (fault.folder / "wandb").glob("offline-run*"):
            subprocess.run(["umount", "--lazy", wandb], check=False)


@pytest.mark.fault(
    "The run folder is read-only", says="run_dir: … cannot be written to — name a folder that can", code=2, keeps=NOTHING
)
def test_read_only_folder(fault: Fault, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    fault.folder = disk / "run"
    fault.train()
    fault.folder = disk
    fault.train()


@pytest.mark.fault(
    "The run folder becomes read-only during training",
    says="run_dir: cannot write to …: Read-only file system… — choose a run_dir that can be written to",
    code=1,
    keeps=EPOCH,
)
def test_folder_becomes_read_only(fault: Fault, disk: Path, in_epoch_1: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fault.folder = disk / "run"
    monkeypatch.setattr(RunFolder, "lock", lambda self: nullcontext())  # mount would wait for the open lock file
    in_epoch_1(lambda _: subprocess.run(["mount", "-o", "remount,ro", disk], check=True))
    assert fault.train()["status"] == "running", "the new status cannot be written"


@pytest.mark.fault("The run folder is removed during training", says="run_dir: … has disappeared", code=1, keeps="nothing")
def test_folder_is_removed(fault: Fault, in_epoch_1: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from regulo.__main__ import main
    from tests.conftest import FAST

    in_epoch_1(lambda _: shutil.rmtree(fault.folder))
    code = main(["train", *FAST, "trainer=cpu", f"run_dir={fault.folder}"])
    stderr = capsys.readouterr().err
    assert code == fault.code, stderr
    assert "has disappeared" in stderr


@pytest.mark.fault("`run_dir` lies below a file", says="run_dir: … cannot be a folder: Not a directory", code=2, keeps=NOTHING)
def test_run_dir_below_a_file(fault: Fault, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fault.folder = tmp_path / "file" / "run"
    fault.train()


@pytest.mark.fault(
    "`run_dir` is that of another run", says="run_dir: … is not an empty folder — a run shares its folder", code=2, keeps=NOTHING
)
def test_run_dir_is_taken(fault: Fault) -> None:
    fault.folder.mkdir()
    (fault.folder / "config.yaml").touch()
    fault.train()
    assert os.listdir(fault.folder) == ["config.yaml"]


@pytest.mark.fault("Runs are started at once, in one second", says="", code=0, keeps="a folder for each")
def test_runs_in_one_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders: list[Path] = []
    errors: list[Exception] = []
    barrier = threading.Barrier(16)

    def create(name: str | None) -> None:
        barrier.wait()
        try:
            folder = run_dir.RunFolder.create(name, "x")
            with folder.lock():
                folder.claim()
                (folder.path / "config.yaml").touch()
            folders.append(folder.path)
        except run_dir.InputError as error:
            errors.append(error)

    threads = [threading.Thread(target=create, args=(name,)) for name in [None] * 8 + ["same"] * 8]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(folders)) == len(folders) == 9, "eight default folders, and one of the eight requests for the same folder"
    assert len(errors) == 7


@pytest.mark.fault("The clock is set back", says="", code=0, keeps=RUN)
def test_clock_set_back(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_epoch_1: Any) -> None:
    import time

    def inject(task: Any) -> None:
        original = time.time
        monkeypatch.setattr(time, "time", lambda: original() - 86400 * 365)

    class Past(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Past":
            return cls(1999, 12, 31, 23, 59, 59)

    in_epoch_1(inject)
    result = fault.train()
    assert 0 < result["fit_seconds"] < 86400
    assert result["images_per_second"] > 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_dir.datetime, "datetime", Past)
    names = [run_dir.RunFolder.create(None, "x").path.name for _ in range(2)]
    assert names == ["1999-12-31-235959-x", "1999-12-31-235959-x-2"]


@pytest.mark.fault("`run_dir` is not ASCII, has spaces, or a name of 255 bytes", says="", code=0, keeps=RUN)
@pytest.mark.parametrize("name", ["Läufe 🚀 = 'a, b' [c]", "ü" * 127 + "x"], ids=["strange", "long"])
def test_strange_run_dir(name: str, fault: Fault, tmp_path: Path) -> None:
    from regulo.__main__ import main

    fault.folder = tmp_path / name
    argument = '"' + str(fault.folder) + '"'
    code = main(["train", "debug=fast", "model.width=4", "data.num_workers=0", "trainer=cpu", f"run_dir={argument}"])
    fault.check(code, "")
    assert main(["evaluate", str(fault.folder), "val"]) == 0


@pytest.mark.fault(
    "`run_dir` is too long for the system", says="run_dir: … cannot be a folder: File name too long", code=2, keeps=NOTHING
)
@pytest.mark.parametrize("name", ["x" * 256, "x" * 200 + "/x" * 1990], ids=["name", "path"])
def test_too_long_run_dir(name: str, fault: Fault, tmp_path: Path) -> None:
    fault.folder = tmp_path / "run"
    fault.train(f"run_dir={tmp_path / name}")


@pytest.mark.fault(
    "`run_dir` holds control characters", says="run_dir: … has a character that cannot be shown", code=2, keeps=NOTHING
)
def test_run_dir_is_no_text(fault: Fault, tmp_path: Path) -> None:
    fault.train(f'run_dir="{tmp_path}/a\nb"')
