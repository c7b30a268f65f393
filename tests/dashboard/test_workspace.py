"""The workspace on W&B: every key that a panel shows is logged by a finished run, and a project has one workspace."""

import importlib.util
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from regulo.__main__ import main
from regulo.analysis.dashboard import workspace
from regulo.config import compose
from regulo.core.nested import flatten
from tests.conftest import FinishedRun
from tests.faults.wandb_server import Server, serve
from tests.wandb_file import find_file, items, read_records, read_rows

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of wandb-workspaces' own models


@pytest.fixture
def panels() -> list[tuple[str, dict[str, Any]]]:
    """(section, panel) of every panel, as W&B gets it."""
    spec = workspace.build_workspace(compose.load_config([]), "somebody", "regulo")._spec["spec"]
    sections = spec["section"]["panelBankConfig"]["sections"]
    return [(section["name"], panel) for section in sections for panel in section["panels"]]


def panel_keys(panel: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, key) of all that a panel shows. The kind is rows, summary, config, media or pattern."""
    config = panel["config"]
    for key in config.get("metrics", []):
        yield ("summary", key.removeprefix("summary_metrics.")) if key.startswith("summary_metrics.") else ("rows", key)
    if "metricRegex" in config:
        yield "pattern", config["metricRegex"]
    for key in config.get("mediaKeys", []):
        yield "media", key
    accessors = [column["accessor"] for column in config.get("columns", [])]
    accessors += [config[axis] for axis in ("xAxis", "yAxis") if ":" in config.get(axis, "")]
    for accessor in accessors:
        kind, _, key = accessor.partition(":")
        yield kind, key.replace(".value", "", 1)


def logged_keys(run: FinishedRun) -> dict[str, set[str]]:
    """The keys of an offline file, by kind."""
    rows, records = read_rows(find_file(run.folder)), list(read_records(find_file(run.folder)))
    history = {key: value for row in rows for key, value in row.items()}
    summary = [items(record.summary.update) for record in records if record.WhichOneof("record_type") == "summary"]
    (config,) = [items(record.run.config.update) for record in records if record.WhichOneof("record_type") == "run"]
    return {
        "rows": {key for key, value in history.items() if isinstance(value, int | float)},
        "media": {key for key, value in history.items() if isinstance(value, dict)},
        "summary": {key for part in summary for key in part},
        "config": set(flatten(config)),
    }


def test_every_key_of_every_panel_is_logged(panels: list[tuple[str, dict[str, Any]]], logged_run: FinishedRun) -> None:
    logged = logged_keys(logged_run)
    for section, panel in panels:
        keys = list(panel_keys(panel))
        assert keys, f"{section}: {panel['viewType']} shows nothing"
        for kind, key in keys:
            if kind == "pattern":
                assert any(re.fullmatch(key, name) for name in logged["rows"]), f"{section}: {key}"
            else:
                assert key in logged[kind], f"{section}: {kind} {key}"


def test_the_sections_are_those_of_the_questions(panels: list[tuple[str, dict[str, Any]]]) -> None:
    assert list(dict.fromkeys(section for section, _ in panels)) == [
        "Generalization",
        "Optimization",
        "Penalties and strengths",
        "Calibration",
        "What the network saw",
        "Final scores",
    ]
    lines = [panel["config"]["xAxis"] for _, panel in panels if panel["viewType"] == "Run History Line Plot"]
    assert set(lines) == {"trainer/global_step"}


def test_the_columns_of_the_table_are_logged(logged_run: FinishedRun) -> None:
    spec = workspace.build_workspace(compose.load_config([]), "somebody", "regulo")._spec["spec"]
    (runs,) = spec["section"]["runSets"]
    logged = logged_keys(logged_run)
    for column in runs["runFeed"]["columnOrder"][1:]:
        kind, _, key = column.partition(":")
        assert key.removesuffix(".value") in logged[kind], column
    assert [(group["section"], group["name"]) for group in runs["grouping"]] == [("run", "group"), ("config", "seed.value")]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    import wandb

    wandb.teardown()  # the service of an earlier test uses another server
    with serve("well") as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield server
        wandb.teardown()


def test_the_second_save_updates_the_first_workspace(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["dashboard", "--online"]) == 0
        assert f"/somebody/regulo?nw={workspace.VIEW}" in capsys.readouterr().out
    (view,) = server.views
    assert view["displayName"] == workspace.NAME
    assert "Generalization" in json.dumps(json.loads(view["spec"]))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "wandb_workspaces" else find_spec(n, *a))
    assert main(["dashboard", "--online"]) == 2
    assert "pip install 'regulo[wandb-reports]'" in capsys.readouterr().err
    assert main(["dashboard", "--online", "--file", "page.html"]) == 2
