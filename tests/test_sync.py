"""`regulo sync`: what W&B's own client sends to a server on this machine, and what is sent once only."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from regulo.__main__ import main
from regulo.core.files import file_lock
from regulo.tracking import sync as sync_module
from regulo.tracking.backends.base import RunInfo
from regulo.tracking.backends.wandb import Wandb
from regulo.tracking.csv_logger import CSVLogger
from tests.conftest import FinishedRun
from tests.faults.wandb_server import Server, serve
from tests.wandb_file import find_file, read_rows


@pytest.fixture
def project(tmp_path: Path, logged_run: FinishedRun, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of a run, as if from another machine, which is the current folder."""
    shutil.copytree(logged_run.folder, tmp_path / "runs" / "study" / "a", symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serve("well") as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield server


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, server: Server) -> list[list[str]]:
    """W&B's client is replaced: it marks what it uploads, unless its name has the word `broken`. Returns its command lines."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> Any:
        calls.append(command)
        for folder in map(Path, command[4:]):
            for file in folder.glob("*.wandb"):
                if "broken" not in str(folder):
                    file.with_suffix(".wandb.synced").touch()
        return type("Process", (), {"stdout": "", "stderr": "wandb: ERROR no room"})

    monkeypatch.setattr(sync_module.subprocess, "run", run)
    return calls


def sent_rows(server: Server) -> list[dict[str, Any]]:
    """The rows of the history, each at the place at which the server has it."""
    rows: dict[int, dict[str, Any]] = {}
    for post in server.posts:
        part = post.get("files", {}).get("wandb-history.jsonl", {"offset": 0, "content": []})
        rows |= {part["offset"] + i: json.loads(line) for i, line in enumerate(part["content"])}
    return [rows[i] for i in sorted(rows)]


def test_wandbs_client_sends_the_run_once(
    project: Path, server: Server, logged_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sync"]) == 0
    assert "uploaded" in capsys.readouterr().out
    rows = read_rows(find_file(logged_run.folder))
    keys = ("trainer/global_step", "epoch", "time", "gap/acc", "train/loss", "test/acc")
    assert [[row.get(k) for k in keys] for row in sent_rows(server)] == [[row.get(k) for k in keys] for row in rows]
    variables = [post["variables"] for post in server.posts if "UpsertBucket" in post.get("query", "")]
    assert any("confidence_penalty" in str(v.get("displayName")) for v in variables)
    assert not any(v.get("host") for v in variables)
    assert {v.get("program") for v in variables} <= {"regulo", None}
    assert not any(v.get(key) for v in variables for key in ("repo", "commit"))
    assert str(project) not in json.dumps(server.posts)
    summaries = [post["files"]["wandb-summary.json"] for post in server.posts if "wandb-summary.json" in post.get("files", {})]
    summary = json.loads(summaries[-1]["content"][-1])
    assert {key: summary[key] for key in logged_run.result} == logged_run.result
    count = len(server.posts)
    assert main(["sync"]) == 0
    assert "is uploaded already" in capsys.readouterr().out
    assert len(server.posts) == count


def test_training_online_sends_neither_machine_nor_program(server: Server, tmp_path: Path) -> None:
    import wandb

    wandb.teardown()  # the service of an earlier test uses another server
    info = RunInfo(tmp_path, "title", {"a": 1}, mode="online", alerts=True)
    metrics = CSVLogger(tmp_path / "metrics.csv")
    with Wandb().open_logger(info, metrics) as logger:
        logger.log_metrics({"epoch": 0, "val/acc": 0.5}, 3)
        logger.log_result({"test/acc": 0.25, "gap/acc": 0.125, "val/acc": 0.75})
    wandb.teardown()
    variables = [post["variables"] for post in server.posts if "UpsertBucket" in post.get("query", "")]
    assert variables
    assert not any(v.get("host") for v in variables)
    assert {v.get("program") for v in variables} <= {"regulo", None}
    (alert,) = [post["variables"] for post in server.posts if "Alert" in post.get("query", "")]
    assert "test/acc 0.2500" in alert["text"]
    summaries = [post["files"]["wandb-summary.json"] for post in server.posts if "wandb-summary.json" in post.get("files", {})]
    assert json.loads(summaries[-1]["content"][-1])["val/acc"] == 0.75, "the result, and not the last row"


def test_a_resumed_run_is_uploaded_again_under_its_id(
    project: Path, client: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / "runs" / "study" / "a"
    assert main(["sync"]) == 0
    files = find_file(folder).parent
    for marker in files.glob("*.synced"):
        marker.unlink()  # a resumed run has new files
    assert main(["sync"]) == 0
    assert "is uploaded already" in capsys.readouterr().out, "there is no new row"
    with (folder / "metrics.csv").open("a") as file:
        file.write("\n")
    assert main(["sync", "--dry-run"]) == 0
    assert "1 of them new" in capsys.readouterr().out
    assert main(["sync"]) == 0
    assert len(client) == 2
    assert client[0][4:] == client[1][4:] == [str(files)]


def test_of_two_copies_the_longer_one_is_uploaded(project: Path, client: list[list[str]]) -> None:
    runs = project / "runs"
    shutil.copytree(runs / "study" / "a", runs / "b", symlinks=True)
    with (runs / "b" / "metrics.csv").open("a") as file:
        file.write("\n")
    assert main(["sync"]) == 0
    (command,) = client
    assert command[4:] == [str(find_file(runs / "b").parent)]


def test_what_could_not_be_uploaded_is_named(project: Path, client: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    (project / "runs" / "study" / "a").rename(project / "runs" / "broken")
    assert main(["sync"]) == 1
    output = capsys.readouterr()
    assert "runs/broken: not uploaded" in output.out
    assert "no room" in output.err
    assert main(["sync", "runs/broken", "--dry-run"]) == 0
    assert "would be uploaded" in capsys.readouterr().out, "it is tried again"


def test_a_damaged_run_is_left_out_and_the_others_are_uploaded(
    project: Path, client: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(project / "runs" / "study" / "a", project / "runs" / "b", symlinks=True)
    (project / "runs" / "b" / "wandb" / sync_module.RECORD).write_text("[]")
    (project / "runs" / "c").mkdir()
    (project / "runs" / "c" / "wandb").symlink_to(project / "runs" / "study" / "a" / "wandb")
    assert main(["sync"]) == 0
    assert capsys.readouterr().out.count("is left out") == 2
    (command,) = client
    assert command[4:] == [str(find_file(project / "runs" / "study" / "a").parent)]


def test_a_run_that_is_being_trained_waits(project: Path, client: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    with file_lock(project / "runs" / "study" / "a" / ".lock"):
        assert main(["sync"]) == 0
    assert "is being trained" in capsys.readouterr().out
    assert not client


def test_without_runs_or_a_key_nothing_is_started(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(project / "none"))
    assert main(["sync"]) == 2
    assert "there is no API key" in capsys.readouterr().err
    shutil.rmtree(project / "runs")
    assert main(["sync"]) == 2
    assert "there is no W&B run to upload" in capsys.readouterr().err
