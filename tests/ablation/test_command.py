"""A study is run, stopped, continued, changed; runs fail. Where a test is about the study, its runs are fake."""

import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from regulo.analysis.ablation import command
from regulo.analysis.ablation.cells import StudyCell
from regulo.analysis.ablation.command import ablate
from regulo.analysis.ablation.runs import StudyRun
from regulo.analysis.launchers import local, runner
from regulo.analysis.launchers.runner import RunsProgress
from regulo.analysis.launchers.runs import make_run
from regulo.core.errors import InputError
from regulo.core.files import file_lock
from regulo.evaluation import robustness
from regulo.regularizers.base import Goal
from tests.fake_runs import fake_train, make_result, queue_in_process

TINY = ["debug=fast", "model.width=4", "data.num_workers=0", "regularizer=none", "data.clean_subset=50"]
ONE = ["study.techniques=[weight_decay]", "study.seeds=1", "study.corruptions=false", *TINY]
ROOT = Path("runs/studies/quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are fake."""
    monkeypatch.setattr("regulo.training.train.train", fake_train)
    monkeypatch.setattr("regulo.analysis.shared_settings.pinned_overrides", lambda config, root: [])
    monkeypatch.setattr("regulo.analysis.shared_settings.same_data_arguments", lambda config, root: [])
    monkeypatch.setattr(
        robustness, "measure_robustness", lambda folder, _: folder.save_json("measures.json", {"test/ece_scaled": 0.1})
    )
    monkeypatch.setattr("regulo.analysis.ablation.cells.dry_run_cells", lambda cells: None)


@pytest.fixture
def job_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Jobs run in this process, in an empty folder. Returns the list of their names, which grows."""
    monkeypatch.chdir(tmp_path)
    names: list[str] = []
    monkeypatch.setattr(local, "run_queue", queue_in_process(names))
    monkeypatch.setattr(command, "write_report", lambda root: [])  # the page has tests of its own
    return names


def read_study() -> dict[str, Any]:
    return json.loads((ROOT / "study.json").read_text())


@pytest.mark.usefixtures("quick")
def test_a_study_is_run_once_and_its_table_is_that_of_its_runs(job_names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    pairs = ["study.techniques=[weight_decay,mixup]", "study.design=pairs", "study.seeds=2", "study.corruptions=false", *TINY]
    assert ablate(pairs) == 0
    assert [name.rsplit("-", 1)[0] for name in job_names] == [
        f"{cell}-s{seed}" for seed in (0, 1) for cell in ("base", "weight_decay", "mixup", "weight_decay_mixup")
    ], "seed by seed"
    record = read_study()
    cells = {cell["label"]: cell for cell in record["cells"]}
    for cell in cells.values():
        for i, run in enumerate(cell["runs"]):
            result = json.loads((ROOT / run["folder"] / "result.json").read_text())
            assert (run["seed"], run["status"], result["seed"]) == (i, "done", i)
            assert cell["values"]["test/acc"][i] == result["test/acc"]
            assert cell["values"]["test/ece_scaled"][i] is not None
    base, mixup = (cells[name]["values"]["test/loss"] for name in ("base", "mixup"))
    assert cells["mixup"]["difference"]["test/loss"]["mean"] == pytest.approx(statistics.fmean(mixup) - statistics.fmean(base))
    assert "difference" not in cells["base"]
    assert cells["base"]["values"]["relative_seconds"] == [1.0, 1.0]
    assert [row["label"] for row in record["interactions"]] == ["weight_decay + mixup"]
    rows = list(csv.DictReader((ROOT / "table.csv").read_text().splitlines()))
    assert len(rows) == len(cells) * len(record["columns"]) + 7
    (row,) = [r for r in rows if (r["cell"], r["column"]) == ("mixup", "test/loss")]
    assert float(row["sd"]) == pytest.approx(statistics.stdev(mixup))
    assert (float(row["low"]), float(row["high"])) == tuple(cells["mixup"]["difference"]["test/loss"][k] for k in ("low", "high"))

    before, out = list(job_names), capsys.readouterr().out
    assert ablate(pairs) == 0
    assert job_names == before, "nothing is repeated"
    assert read_study() | {"seconds": 0} == record | {"seconds": 0}
    again = capsys.readouterr().out
    assert "all have ended" in again
    title = "One technique at a time"
    assert again[again.index(title) :] == out[out.index(title) :], "the same table"


def test_a_run_that_diverges_is_reported_and_not_repeated(job_names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["study.techniques={huge: [optim.lr=1.0e+30], weight_decay: []}", *ONE[1:]]
    assert ablate(arguments) == 1
    cells = {cell["label"]: cell for cell in read_study()["cells"]}
    (failed_run,) = cells["huge"]["runs"]
    assert (failed_run["status"], cells["weight_decay"]["runs"][0]["status"]) == ("failed", "done")
    assert "loss is nan" in failed_run["error"]
    assert cells["huge"]["values"]["test/acc"] == [None]
    assert "1 FAILED" in capsys.readouterr().out
    before = list(job_names)
    assert ablate(arguments) == 1
    assert job_names == before
    assert "loss is nan" in capsys.readouterr().out


@pytest.mark.usefixtures("quick")
def test_a_run_that_breaks_is_tried_again_when_the_study_is(job_names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(run: StudyRun) -> None:
        if "weight_decay" in run.name:
            raise OSError("No space left on device")
        make_run(run)

    monkeypatch.setattr(runner, "make_run", breaks)
    assert ablate(ONE) == 1
    assert read_study()["cells"][1]["runs"][0] | {"folder": ""} == {
        "seed": 0,
        "folder": "",
        "status": "failed",
        "error": "No space left on device",
    }
    monkeypatch.setattr(runner, "make_run", make_run)
    assert ablate(ONE) == 0
    assert [name.split("-")[0] for name in job_names] == ["base", "weight_decay", "weight_decay"]


@pytest.mark.usefixtures("quick")
def test_half_a_run_is_made_again_and_an_unmeasured_one_is_only_measured(job_names: list[str]) -> None:
    assert ablate(ONE) == 0
    base, other = (ROOT / run["folder"] for cell in read_study()["cells"] for run in cell["runs"])
    mtime = (base / "result.json").stat().st_mtime_ns
    assert other != base
    (base / "measures.json").unlink()
    (other / "result.json").write_text('{"status": "running"}')
    assert ablate(ONE) == 0
    assert (base / "measures.json").is_file()
    assert (base / "result.json").stat().st_mtime_ns == mtime
    assert json.loads((other / "result.json").read_text())["status"] == "done"


@pytest.mark.usefixtures("quick")
def test_a_run_that_kept_a_checkpoint_goes_on_from_there(job_names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert ablate(ONE) == 0
    (folder,) = (ROOT / run["folder"] for run in read_study()["cells"][1]["runs"])
    whole = (folder / "result.json").read_text()
    (folder / "result.json").write_text('{"status": "interrupted"}')
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    calls: list[list[str]] = []

    def fake_resume(words: Sequence[str]) -> int:
        calls.append(list(words))
        (folder / "result.json").write_text(whole)
        return 0

    monkeypatch.setattr("regulo.training.train.train", fake_resume)
    assert ablate(ONE) == 0
    assert calls == [["--resume", str(folder.absolute())]]


@pytest.mark.usefixtures("quick")
def test_a_changed_study_says_which_runs_are_stale_and_why(job_names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("base-s0-00000000", "weight_decay-s7-00000000", "sam-s0-00000000"):
        (ROOT / name).mkdir(parents=True)
    assert ablate(ONE) == 0
    assert set(read_study()["stale"]) == {"base-s0-00000000", "weight_decay-s7-00000000", "sam-s0-00000000"}
    out = capsys.readouterr().out
    for line in (
        "base-s0-00000000: the cell's configuration",
        "s7-00000000: the study has no seed 7",
        "sam-s0-00000000: the study",
    ):
        assert line in out
    assert (ROOT / "sam-s0-00000000").is_dir(), "kept"


@pytest.mark.usefixtures("quick")
def test_a_budget_that_is_spent_starts_no_run(job_names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert ablate([*ONE, "study.budget=1.0e-9"]) == 0
    assert job_names == []
    assert {run["status"] for cell in read_study()["cells"] for run in cell["runs"]} == {"missing"}
    assert "complete seeds: none" in capsys.readouterr().out


def test_the_budget_looks_ahead() -> None:
    progress = RunsProgress([], Goal("val/loss", "min"), 1, budget=1.0)
    assert progress.may_start()
    progress.start_times["a"] = 0.0
    progress.update(local.JobEvent("a", 59.0))
    assert progress.may_start()
    progress.start_times["b"] = 0.0
    progress.update(local.JobEvent("b", 60.5))
    assert not progress.may_start()


@pytest.mark.usefixtures("quick")
def test_wrong_labels_have_a_column_and_runs_of_their_own(job_names: list[str]) -> None:
    assert ablate([*ONE, "study.label_noise=0.4"]) == 0
    for cell in read_study()["cells"]:
        (noisy,) = cell["noisy_runs"]
        result = json.loads((ROOT / noisy["folder"] / "result.json").read_text())
        assert cell["values"]["noisy/acc"] == [result["test/acc"]]
        assert cell["values"]["noisy/acc"] != cell["values"]["test/acc"]
    assert len(job_names) == 4


def test_one_process_at_a_time(job_names: list[str]) -> None:
    with file_lock(ROOT / ".lock"), pytest.raises(InputError, match="another process"):
        ablate(ONE)


def test_a_technique_that_does_not_fit_the_model_is_refused_before_anything_is_run(job_names: list[str]) -> None:
    with pytest.raises(InputError, match=r"cell 'drop': regularizer.dropout.attention"):
        ablate(["study.techniques={drop: [+regularizer=dropout, regularizer.dropout.attention=0.1]}", *ONE[1:]])
    assert job_names == []


def test_the_best_so_far_is_the_best_mean_on_validation(tmp_path: Path) -> None:
    def run(label: str, seed: int, loss: float) -> StudyRun:
        folder = tmp_path / f"{label}{seed}"
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps(make_result(label) | {"val/loss": loss, "val/acc": loss}))
        return StudyRun(folder, (), StudyCell(label, (), ()), seed, None, False)

    finished_runs = [run("a", 0, 0.1), run("a", 1, 0.9), run("b", 0, 0.4)]
    assert "b (val/loss 0.4000, n = 1)" in str(RunsProgress(finished_runs, Goal("val/loss", "min"), 1, None))
    assert "a (val/acc 0.5000, n = 2)" in str(RunsProgress(finished_runs, Goal("val/acc", "max"), 1, None))


SCRIPT = f"""
import sys
from regulo.analysis.ablation import command
command.write_report = lambda root: []
if __name__ == "__main__":
    sys.exit(command.ablate({ONE!r} + sys.argv[1:]))
"""


@pytest.mark.long
def test_killed_and_started_again_it_repeats_nothing_that_was_finished(tmp_path: Path) -> None:
    (tmp_path / "go.py").write_text(SCRIPT)
    start = [sys.executable, "go.py", "at_once=1"]
    process = subprocess.Popen(start, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("base-s0"):
            break
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    root = tmp_path / ROOT
    (first,) = root.glob("base-s0-*")
    mtime = (first / "result.json").stat().st_mtime_ns
    assert not (root / "study.json").exists()
    time.sleep(1.0)  # the run that was going on ends with its parent
    process = subprocess.run(start, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "2 runs, 1 of them to do" in process.stdout
    assert (first / "result.json").stat().st_mtime_ns == mtime
    assert len(list((root / "logs").glob("*.txt"))) == 2


@pytest.mark.long
def test_the_same_study_runs_through_submitit(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    (tmp_path / "go.py").write_text(SCRIPT)
    start = [sys.executable, "go.py", "launcher=local", "launcher.timeout_min=5"]
    process = subprocess.run(start, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "through submitit on local" in process.stdout
    record = json.loads((tmp_path / ROOT / "study.json").read_text())
    assert [run["status"] for cell in record["cells"] for run in cell["runs"]] == ["done", "done"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["launcher=slum"], "did you mean slurm"),
        (["launcher=local", "launcher.slurm_partitio=x"], "slurm_partitio"),
        (["launcher=local", "launcher.timeout_min=soon"], "launcher.timeout_min"),
    ],
)
def test_a_wrong_launcher_is_refused(job_names: list[str], arguments: list[str], message: str) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(InputError, match=message):
        ablate([*ONE, *arguments])


def test_without_submitit_the_launcher_says_what_to_install(job_names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"regulo\[slurm\]"):
        ablate([*ONE, "launcher=slurm"])
