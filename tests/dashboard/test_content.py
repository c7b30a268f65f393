"""What the page gets is what the files say; the files are read here with other means."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from regulo.analysis.dashboard.columns import table_columns
from regulo.analysis.dashboard.content import Content
from regulo.analysis.dashboard.curves import list_curves
from regulo.analysis.dashboard.selection import Selection, select_runs
from regulo.core.errors import InputError
from regulo.tracking.run_dir import RunFolder
from tests.conftest import FinishedRun, metrics_of


def decode(overview: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of an overview as rows."""
    columns = {
        key: column if isinstance(column, list) else [column["texts"][index] for index in column["indices"]]
        for key, column in overview["runs"].items()
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@pytest.fixture
def content(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Content:
    monkeypatch.chdir(runs.parent)
    return Content(Selection([Path("runs")]))


def test_the_table_has_the_numbers_of_every_result(content: Content, runs: Path) -> None:
    rows = {row["key"]: row for row in decode(content.overview())}
    files = [*runs.glob("*/result.json"), *runs.glob("studies/*/*/result.json")]
    assert set(rows) == {file.parent.relative_to(runs.parent).as_posix() for file in files}
    finished = 0
    for file in files:
        row = rows[file.parent.relative_to(runs.parent).as_posix()]
        if row["state"] != "done":
            continue
        finished += 1
        result, config = json.loads(file.read_text()), yaml.safe_load((file.parent / "config.yaml").read_text())
        assert (row["model"], row["data"], row["seed"]) == (config["model"]["name"], config["data"]["name"], config["seed"])
        for key in ("test/acc", "test/loss", "gap/acc", "val/ece", "steps", "params"):
            assert row[key] == pytest.approx(result[key], rel=1e-5)
    assert finished >= 15


def test_states_reasons_and_commands(content: Content, going_on: Path) -> None:
    rows = {row["name"]: row for row in decode(content.overview())}
    assert rows["going-on"]["state"] == "running"
    assert rows["going-on"]["progress"] == pytest.approx(0.5)
    crashed, failed, stopped = (rows[f"2026-11-26-00000{i}-run"] for i in (1, 2, 3))
    assert crashed["state"] == "crashed"
    assert crashed["resume"].endswith("runs/2026-11-26-000001-run")
    assert failed["reason"].startswith("the training loss is nan")
    assert failed["resume"] == "", "it would fail in the same way again"
    assert (stopped["state"], stopped["reason"]) == ("interrupted", "stopped before its end")
    assert rows["unreadable"]["state"] == "unreadable"
    assert "result.json" in rows["unreadable"]["reason"]


def test_a_study_has_its_title_its_report_and_its_runs(content: Content) -> None:
    overview = content.overview()
    (study,) = overview["studies"]
    assert (study["name"], study["title"], study["report"]) == ("quick", "Which technique helps a small network?", True)
    assert sum(row["study"] == "quick" for row in decode(overview)) == 3


def test_every_number_of_a_result_has_a_column() -> None:
    columns = {
        column.key: column for column in table_columns([{"test/acc": 0.9, "test/brier": 0.1, "val/acc": 0.9, "mine/new": 1.0}])
    }
    assert (columns["val/acc"].factor, columns["val/acc"].title) == (100, "val accuracy, %")
    assert columns["test/brier"].title == "test Brier score"
    assert columns["mine/new"].kind == "number"
    assert not columns["mine/new"].visible


def test_the_curves_of_a_real_run_are_those_of_its_file(finished_run: FinishedRun) -> None:
    folder = finished_run.folder
    details = Content(Selection([folder.parent])).details("x")
    assert details is None
    content = Content(Selection([], [folder]))
    (key,) = content.keys()
    details = content.details(key)
    assert details is not None
    assert not details["problem"]
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["epoch"]]
    for name in ("val/acc", "train/loss", "lr", "gap/loss"):
        values = [(float(row[name]), float(row["step"])) for row in rows if row[name]]
        curve = details["curves"][name]
        np.testing.assert_allclose(list(zip(curve["value"], curve["step"], strict=True)), values, rtol=1e-5)
        assert curve["points"] == len(values)
    assert "test/acc" not in details["curves"], "the final scores are no curve"
    epochs = sum(bool(row["val/acc"]) for row in rows)
    assert details["curves"]["val/acc"]["epoch"] == list(range(1, epochs + 1))
    assert details["config"]["model.name"] == "resnet_small"
    assert details["config"]["environment.torch"]
    assert set(details["figures"]) == {"samples", "confusion", "mistakes"}


def test_times_are_logged_or_said_to_be_estimated() -> None:
    rows = [{"epoch": "0", "step": str(step), "lr": "0.1", "time": str(3 * step)} for step in range(4)]
    assert list_curves(metrics_of(rows), {})["lr"]["time"] == [0, 3, 6, 9]
    without = [{key: text for key, text in row.items() if key != "time"} for row in rows]
    assert "time" not in list_curves(metrics_of(without), {})["lr"]
    estimate = list_curves(metrics_of(without), {"steps": 8, "fit_seconds": 16.0})["lr"]
    assert (estimate["time"], estimate["time_estimated"]) == ([2, 4, 6, 8], True)


def test_a_long_curve_keeps_its_extremes() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    values[1234], values[4321] = 99, -99
    rows = [{"epoch": "0", "step": str(step), "train/loss": repr(float(value))} for step, value in enumerate(values)]
    curve = list_curves(metrics_of(rows), {})["train/loss"]
    assert len(curve["value"]) <= 1002
    assert curve["points"] == 5000
    drawn = dict(zip(curve["step"], curve["value"], strict=True))
    assert (drawn[1234], drawn[4321]) == (99, -99)
    assert {0, 4999} <= set(drawn)


def test_nan_is_kept_for_the_page_to_leave_out() -> None:
    rows = [{"epoch": "0", "step": str(step), "train/loss": text} for step, text in enumerate(("1", "nan", "inf", "2"))]
    curve = list_curves(metrics_of(rows), {})["train/loss"]
    assert [value for value in curve["value"] if math.isfinite(value)] == [1, 2]
    assert curve["step"] == [0, 1, 2, 3]


def test_a_damaged_file_is_named_and_the_others_are_shown(content: Content) -> None:
    content.overview()
    details = content.details("runs/broken")
    assert details is not None
    assert "metrics.csv" in details["problem"]
    assert details["config"]["seed"] == "2"


def test_names_that_are_not_utf8_are_shown(tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("runs") / b"caf\xe9".decode("utf-8", "surrogateescape")
    folder.mkdir(parents=True)
    for name in ("config.yaml", "result.json", "metrics.csv", "plan.json"):
        (folder / name).write_bytes((runs / "2026-11-26-000000-run" / name).read_bytes())
    content = Content(Selection([Path("runs")]))
    assert content.keys() == ["runs/caf\\xe9"]
    assert content.details("runs/caf\\xe9")["curves"]  # type: ignore[index]


def test_runs_studies_and_folders_are_chosen_by_their_paths(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs.parent)
    run, study = "runs/2026-11-26-000000-run", "runs/studies/quick"
    content = Content(select_runs([run, study]))
    assert len(content.keys()) == 4
    assert content.overview()["chosen"] == [run]
    assert len(Content(select_runs(["runs", run])).keys()) == len(Content(select_runs([])).keys()), "each run once"
    with pytest.raises(InputError, match="there is no folder and no run"):
        select_runs(["runs/none"])
    with pytest.raises(InputError, match="leads out of the folder"):
        select_runs(["runs/linked"])


def test_without_runs_the_page_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    overview = Content(select_runs([])).overview()
    assert overview["runs"]["key"] == []
    assert list(tmp_path.iterdir()) == [], "looking writes nothing"


def test_a_run_that_is_removed_while_the_page_is_open_is_a_problem_and_no_crash(
    tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.chdir(tmp_path)
    shutil.copytree(runs / "2026-11-26-000000-run", tmp_path / "runs" / "it")
    content = Content(Selection([Path("runs")]))
    assert content.keys() == ["runs/it"]
    shutil.rmtree(RunFolder(tmp_path / "runs" / "it").path)
    assert "not a run folder" in content.details("runs/it")["problem"]  # type: ignore[index]
    assert content.figure("runs/it", "samples") is None
    assert content.report("runs/it") is None
