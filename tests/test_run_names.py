"""`latest` and `best` as names of runs, and `--resume latest`."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from regulo.__main__ import main
from regulo.core.errors import InputError, NonFiniteLossError
from regulo.core.files import file_lock
from regulo.tracking.run_dir import RunFolder, list_runs
from regulo.tracking.run_names import find_run, open_run, resolve_run_options


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that makes a run folder; each is newer than the one before."""
    monkeypatch.chdir(tmp_path)
    clock = iter(range(1_000_000_000, 2_000_000_000))

    def make(name: str, status: str = "done", loss: Any = 0.5, data: str = "cifar10", checkpoint: str = "last.ckpt") -> Path:
        run = Path("runs") / name
        (run / "checkpoints").mkdir(parents=True)
        (run / "config.yaml").write_text(f"data:\n  name: {data}\n  root: data\ntrainer: {{}}\n")
        (run / "data.json").write_text("{}")
        (run / "result.json").write_text(json.dumps({"status": status, "val/loss": loss}))
        if checkpoint:
            (run / "checkpoints" / checkpoint).touch()
        time = next(clock)
        os.utime(run / "config.yaml", (time, time))
        return run

    return make


def test_latest_is_the_newest_finished_run(make_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make_run("z_old")
    newest = make_run("a_new")
    make_run("failed", "failed")
    make_run("running", "running")
    (make_run("torn") / "result.json").write_text("{")
    (make_run("no_result") / "result.json").unlink()
    assert find_run("latest") == newest
    assert open_run("latest").path == newest.resolve()
    assert capsys.readouterr().err == "regulo: latest is runs/a_new\n" * 2
    assert list_runs()[0].name == "no_result", "newest first, whatever their status"


def test_best_has_the_lowest_validation_loss_on_the_data_of_the_newest(make_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make_run("other_data", loss=0.01, data="cifar100")
    best = make_run("good", loss=0.2)
    make_run("not_finished", "failed", loss=0.1)
    make_run("nan", loss=float("nan"))
    make_run("newest", loss=0.4)
    assert find_run("best") == best
    assert capsys.readouterr().err == "regulo: best is runs/good (val/loss 0.2000, the lowest of 2 finished on cifar10)\n"


@pytest.mark.parametrize("name", ["latest", "best"])
@pytest.mark.parametrize("command", ["evaluate", "predict", "export", "doctor", "dashboard", "report"])
def test_without_a_finished_run_every_command_reports_it(
    command: str, name: str, make_run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("failed", "failed")
    assert main([command, name, *["x.png"] * (command == "predict")]) == 2
    assert f"RUN: there is no {name} run: no run below runs/ is finished" in capsys.readouterr().err


COMMANDS = [
    ["evaluate"],
    ["predict", "x.png"],
    ["export", "--format=pt2"],
    ["doctor"],
    ["dashboard", "--terminal"],
    ["report"],
    ["runs", "pin"],
    ["runs", "rm", "--yes"],
    ["train", "--resume"],
    ["train", "--same-data"],
]


@pytest.mark.parametrize("name", ["latest", "best", "2026-11-26", "studies/quick/a-s0"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_takes_names_of_runs(
    words: list[str], name: str, make_run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = make_run("studies/quick/a-s0-12345678" if "/" in name else "2026-11-26-102346-run")
    (expected / "checkpoints" / "last.ckpt").unlink()
    if words == ["train", "--resume"] and name == "latest":
        (expected / "result.json").write_text('{"status": "failed"}')
        (expected / "checkpoints" / "last.ckpt").write_text("torn")
    main([*words[:1], name, *words[1:]] if words[0] == "predict" else [*words, name])
    assert f"regulo: {name} is {expected}" in capsys.readouterr().err


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_names_the_nearest_run(words: list[str], make_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make_run("2026-11-26-102346-run")
    name = "2026-11-26-102347-run"
    assert main([*words[:1], name, *words[1:]] if words[0] == "predict" else [*words, name]) == 2
    assert f"the name '{name}' — did you mean 2026-11-26-102346-run?" in capsys.readouterr().err


def test_a_run_is_found_by_its_name_or_the_beginning_of_it(make_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = make_run("a-resnet"), make_run("a-resnet-2")
    part = make_run("studies/quick/b-s0-12345678")
    assert find_run("a-resnet") == find_run("runs/a-resnet/") == first, "a whole name is not the beginning of another one"
    assert capsys.readouterr().err == ""
    assert find_run("a-resnet-") == second
    assert find_run("b-") == find_run("studies/quick/b") == find_run("b-s0-12345678") == part
    assert "regulo: b- is runs/studies/quick/b-s0-12345678" in capsys.readouterr().err
    with pytest.raises(
        InputError, match=r"2 runs have a name that begins with 'a-' — name one of runs/a-resnet, runs/a-resnet-2"
    ):
        find_run("a-")
    Path("a-resnet-2").mkdir()
    assert find_run("a-resnet-2") == Path("a-resnet-2"), "a path is a path"


def test_a_folder_of_that_name_is_meant_by_its_path(make_run: Any) -> None:
    make_run("run")
    Path("latest").mkdir()
    assert find_run("./latest") == Path("latest")
    assert find_run("latest") == Path("runs/run")


def test_resume_takes_the_newest_run_that_can_go_on(make_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    older = make_run("older", "interrupted", checkpoint="previous.ckpt")
    newer = make_run("newer", "failed")
    make_run("done")
    make_run("no_checkpoint", "interrupted", checkpoint="")
    with file_lock(newer / ".lock"):
        assert newer.is_dir()
        assert resolve_run_options(["--resume", "latest", "seed=1"]) == ["--resume", str(older), "seed=1"]
    assert resolve_run_options(["seed=1", "--resume", "latest"]) == ["seed=1", "--resume", str(newer)]
    assert resolve_run_options(["--resume=latest"]) == ["--resume", str(newer)]
    assert resolve_run_options(["seed=1", "--resume=runs/a=b"]) == ["seed=1", "--resume", "runs/a=b"]
    assert capsys.readouterr().err.splitlines() == [f"regulo: latest is {run}" for run in (older, newer, newer)]
    assert resolve_run_options(["--resume", "runs/done"]) == ["--resume", "runs/done"]
    assert resolve_run_options(["name=latest"]) == ["name=latest"]
    assert resolve_run_options(["--resume"]) == ["--resume"]


def test_resume_reports_that_no_run_can_go_on(make_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make_run("done")
    assert main(["train", "--resume", "latest"]) == 2
    assert "--resume: there is no run that can go on" in capsys.readouterr().err


def test_resume_takes_no_run_that_has_diverged(make_run: Any) -> None:
    make_run("killed", "running")
    result = {"status": "failed", "error_type": NonFiniteLossError.__name__}
    (make_run("diverged", "failed") / "result.json").write_text(json.dumps(result))
    assert resolve_run_options(["--resume", "latest"]) == ["--resume", "runs/killed"]


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_several_processes_need_the_name_of_the_run(variable: str, make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("failed", "failed")
    monkeypatch.setenv(variable, "2")
    with pytest.raises(InputError, match="name the folder"):
        resolve_run_options(["--resume", "latest"])
    monkeypatch.setenv(variable, "1")
    assert resolve_run_options(["--resume", "latest"]) == ["--resume", "runs/failed"]


def test_a_run_is_locked_while_a_process_trains_it(make_run: Any) -> None:
    folder = RunFolder(make_run("run"))
    assert not folder.is_locked()
    assert not (folder.path / ".lock").exists(), "the check creates no file"
    with folder.lock():
        assert folder.is_locked()
    assert not folder.is_locked()
