"""`regulo runs`: what it says about each run, filters, removal, and what it does with damaged files."""

import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regulo.__main__ import main
from regulo.core import safe_io
from regulo.core.files import file_lock
from regulo.tracking import run_summary
from regulo.tracking.run_dir import RunFolder
from regulo.tracking.run_removal import TRASH
from regulo.tracking.run_summary import INDEX, RunSummary, summarize_runs
from tests.conftest import FinishedRun

CONFIG = {
    "seed": 3,
    "strength": 0.5,
    "data": {"name": "cifar10", "root": "data"},
    "model": {"name": "vit_tiny"},
    "regularizer": {"mixup": {"alpha": 0.2}, "ema": {}},
    "trainer": {"max_epochs": 10},
}
PLAN = [("augment", "transform"), ("cutmix", "mix, one per batch"), ("mixup", "mix, one per batch"), ("ema", "callbacks")]

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """A function that makes a run folder below runs/; each is newer than the one before."""
    monkeypatch.chdir(tmp_path)
    clock = iter(range(1_700_000_000, 1_800_000_000, 1000))

    def make(name: str, status: str | None = "done", plan: bool = True, **result: Any) -> Path:
        run = Path("runs") / name
        (run / "checkpoints").mkdir(parents=True)
        (run / "config.yaml").write_text(safe_io.dump_yaml(CONFIG))
        (run / "checkpoints" / "last.ckpt").write_text("four")
        if status:
            (run / "result.json").write_text(json.dumps({"status": status, **result}))
        if plan:
            rows = [dict(zip(("technique", "hook"), row, strict=True)) for row in PLAN]
            (run / "plan.json").write_text(json.dumps({"regularizers": rows}))
        seconds = next(clock)
        os.utime(run / "config.yaml", (seconds, seconds))
        return run

    return make


def only_run() -> RunSummary:
    (run,) = summarize_runs()
    return run


# ---- the summary


def test_the_summary_is_that_of_the_files_of_a_real_run(finished_run: FinishedRun) -> None:
    run = next(run for run in summarize_runs(finished_run.folder.parent) if run.path == finished_run.folder)
    numbers = {key: value for key, value in finished_run.result.items() if isinstance(value, int | float)}
    assert run.state == "done"
    assert run.scores == numbers
    assert (run.data, run.model, run.seed) == ("fashion_mnist_mini", "resnet_small", 3)
    assert set(run.plan.replace("|", "+").split("+")) == set(RunFolder(run.path).read_config()["regularizer"])
    assert "cutmix|mixup" in run.plan
    assert (run.epochs, run.max_epochs, run.seconds) == (2, 2, finished_run.result["fit_seconds"])
    files = [file for file in run.path.rglob("*") if file.is_file() and not file.is_symlink()]
    assert run.size == sum(file.stat().st_size for file in files)
    assert run.resume_command is None


def test_states_are_those_of_the_run_and_of_its_process(make_run: MakeRun) -> None:
    for status in ("done", "failed", "interrupted"):
        make_run(status, status, error="disk\nfull" if status == "failed" else "")
    make_run("crashed", "running")
    make_run("killed_early", None)
    running = make_run("running", "running")
    (make_run("torn") / "result.json").write_text("{")
    with file_lock(running / ".lock"):
        runs = {run.name: run for run in summarize_runs()}
    states = {name: run.state for name, run in runs.items()}
    assert states == {s: s for s in ("done", "failed", "interrupted", "crashed", "running")} | {
        "killed_early": "crashed",
        "torn": "unreadable",
    }
    assert list(runs) == ["torn", "running", "killed_early", "crashed", "interrupted", "failed", "done"], "newest first"
    assert runs["failed"].reason == "disk\\nfull"
    assert "result.json cannot be read" in runs["torn"].reason
    assert {name for name, run in runs.items() if run.resume_command} == {"failed", "interrupted", "crashed", "killed_early"}
    assert runs["failed"].resume_command == "regulo train --resume runs/failed"


def test_a_run_that_would_fail_again_has_no_command_to_go_on(make_run: MakeRun) -> None:
    make_run("nan", "failed", error_type="NonFiniteLossError")
    assert only_run().resume_command is None


def test_the_plan_is_short_and_one_is_drawn_of_those_between_bars(make_run: MakeRun) -> None:
    make_run("with_plan")
    make_run("without_plan", plan=False)
    assert [run.plan for run in summarize_runs()] == ["mixup+ema", "augment+cutmix|mixup+ema"]
    assert {run.strength for run in summarize_runs()} == {0.5}


def test_runs_of_studies_and_claims_say_so(make_run: MakeRun) -> None:
    for name in ("plain", "studies/quick/mixup-s0-12345678", "claims/runs/abc", "claims/quick/runs/abc"):
        make_run(name)
    studies = {run.path.as_posix(): run.study for run in summarize_runs()}
    assert studies == {
        "runs/plain": "",
        "runs/studies/quick/mixup-s0-12345678": "quick",
        "runs/claims/runs/abc": "claims",
        "runs/claims/quick/runs/abc": "claims",
    }


def test_the_time_left_follows_from_the_epochs_since_the_last_start(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("run", "running", resumed_at=[20])
    rows = "epoch,step,val/loss\n" + "".join(f"{e},{10 * e + 9},0.5\n" for e in range(4)) + "4,44,\n"
    (run / "metrics.csv").write_text(rows + "4,4")  # cut short
    start = (run / "config.yaml").stat().st_mtime
    os.utime(run / "metrics.csv", (start + 100, start + 100))
    monkeypatch.setattr(time, "time", lambda: start + 130)
    with file_lock(run / ".lock"):
        summary = only_run()
    assert (summary.epochs, summary.max_epochs, summary.seconds) == (4.5, 10, 100)
    # 10 steps an epoch; 2.5 epochs in 100 s since the start at step 20, so 5.5 epochs in 220 s, of which 30 s have gone
    assert summary.seconds_left == pytest.approx(190)
    (run / "metrics.csv").write_text("epoch,step,val/loss\n0,1,\n")
    with file_lock(run / ".lock"):
        assert only_run().seconds_left is None, "the first epoch has not ended"


# ---- the index


def test_files_that_have_not_changed_are_not_read_again(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = make_run("a"), make_run("b", "failed")
    before = summarize_runs()
    with monkeypatch.context() as patch:
        patch.setattr(safe_io, "read_yaml_values", lambda *_: pytest.fail("it was read again"))
        assert summarize_runs() == before
        assert [r.path for r in summarize_runs(Path("runs").absolute())] == [r.path.absolute() for r in before]
    (run / "result.json").write_text(json.dumps({"status": "done", "test/acc": 0.5}))
    assert {r.name: r.scores for r in summarize_runs()} == {"a": {"test/acc": 0.5}, "b": {}}
    RunFolder(run).save_json("measures.json", {})
    assert sum(r.size for r in summarize_runs()) > sum(r.size for r in before), "a new file changes the size"


@pytest.mark.parametrize(
    "content", [b"\xff", b"{", b"[]", b"{}", b'{"version": 1, "runs": {"run": 3}}', b'{"version": 1, "runs": null}']
)
def test_a_damaged_index_is_made_again(content: bytes, make_run: MakeRun) -> None:
    make_run("run")
    expected = summarize_runs()
    Path("runs", INDEX).write_bytes(content)
    assert summarize_runs() == expected
    assert json.loads(Path("runs", INDEX).read_text())["runs"].keys() == {"run"}


def test_a_folder_that_cannot_be_written_to_can_be_listed(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("run")

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run_summary, "atomic_write", refuse)
    assert only_run().state == "done"
    assert not Path("runs", INDEX).exists()


def test_without_runs_the_list_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert summarize_runs() == []
    assert not Path("runs").exists()
    assert main(["runs"]) == 0
    assert main(["runs", "--json"]) == 0


# ---- damaged and hostile files

HOSTILE = {
    "config.yaml": [
        b"",
        b"\xff\xfe",
        b"[" * 300_000,
        b"a: &a [x]\nb: *a\n",
        b"? [a]\n: b\n",
        b"- a",
        b"seed: x\ntrainer: {max_epochs: 3}",
        b"trainer: {max_epochs: 1e999}",
        b"strength: []\ntrainer:\n  max_epochs: 5",
        b"x: \x1b[2J",
        b'trainer: {max_epochs: 5}\nmodel: {name: "\\e[2J\\n"}',
        b"x" * (1 << 21),
    ],
    "result.json": [
        b"[]",
        b'{"status": 3}',
        b'{"status": "done", "epochs": 1' + b"0" * 400 + b"}",
        b'{"status": "done", "epochs": 1' + b"0" * 5000 + b"}",
        b'{"status": "failed", "error": {"a": "\\u001b[2J"}}',
        b'{"status": "interrupted", "resumed_at": ["x"]}',
        b'{"status": "done", "test/acc": NaN, "\\u001b": 1, "test/loss": true}',
        b"[" * 100_000,
        b" " * (1 << 21),
    ],
    "plan.json": [b'{"regularizers": 3}', b'{"regularizers": [3]}', b'{"regularizers": [{"technique": "\\u001b[2J"}]}', b"{"],
    "metrics.csv": [
        b"",
        b"\xff\n\xff\n",
        b"epoch,step\nx,y\n",
        b'epoch,step,val/loss\n"0,9,1\n',
        b"epoch,step,val/loss\n0,-1,1\n",
        b"epoch,step,val/loss\n-1,9,1\n",
        b"step\n" + b"9" * 5000 + b"\n",
        b"epoch,step,val/loss\n" + b"0," * 100_000,
    ],
}


@pytest.mark.parametrize(("file", "number"), [(file, n) for file, contents in HOSTILE.items() for n in range(len(contents))])
def test_damaged_files_are_reported_and_never_end_the_list(
    file: str, number: int, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    (make_run("hostile", "interrupted" if file == "metrics.csv" else "done") / file).write_bytes(HOSTILE[file][number])
    make_run("whole")
    for arguments in (["runs", "--all"], ["runs", "--json"], ["runs", "hostile"], ["runs", "--sort", "seed"]):
        assert main(arguments) == 0
    output = capsys.readouterr()
    assert "\x1b" not in output.out + output.err
    assert "NaN" not in output.out
    assert {run.name for run in summarize_runs()} == {"whole", "hostile"}


def test_pipes_links_and_loops_do_not_stop_the_list(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("run")
    pipe = make_run("pipe", "running")
    for name in ("result.json", "plan.json", "metrics.csv", ".lock"):
        (pipe / name).unlink(missing_ok=True)
        os.mkfifo(pipe / name)
    os.mkfifo(make_run("lock", "running") / ".lock")
    Path("runs/loop").symlink_to(".")
    Path("runs/dangling").symlink_to("nowhere")
    Path("runs/linked_run").symlink_to("run")
    assert {run.name: run.state for run in summarize_runs()} == {
        "run": "done",
        "linked_run": "done",
        "pipe": "unreadable",
        "lock": "crashed",
    }


# ---- the command


def names(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["runs", *arguments, "--json"]) == 0
    return [run["name"] for run in json.loads(capsys.readouterr().out)]


@pytest.fixture
def three_runs(make_run: MakeRun) -> None:
    make_run("good", **{"test/acc": 0.9, "test/loss": 0.3})
    make_run("better", **{"test/acc": 0.95, "test/loss": float("nan")})
    make_run("broken", "failed", error="No space left")


@pytest.mark.usefixtures("three_runs")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], ["broken", "better", "good"]),
        (["state=done"], ["better", "good"]),
        (["state!=done"], ["broken"]),
        (["test/acc>0.9"], ["better"]),
        (["test/acc>=0.9", "name=g*"], ["good"]),
        (["test/loss<1"], ["good"]),
        (["model=vit_tiny"], ["broken", "better", "good"]),
        (["model=vit"], []),
        (["plan=*cutmix*"], ["broken", "better", "good"]),
        (["SPACE"], ["broken"]),
        (["started<2000"], []),
        (["pinned=true"], []),
        (["can_resume=true"], ["broken"]),
        (["seed=3", "strength<1"], ["broken", "better", "good"]),
        (["--sort", "test/acc"], ["better", "good", "broken"]),
        (["--sort=-test/acc"], ["good", "better", "broken"]),
        (["--sort", "test/loss"], ["good", "broken", "better"]),
        (["--sort", "name"], ["better", "broken", "good"]),
        (["--sort=-started"], ["good", "better", "broken"]),
    ],
)
def test_filters_and_orders(filters: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert names(capsys, *filters) == expected


@pytest.mark.usefixtures("three_runs")
def test_wrong_filters_are_refused_all_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "stat=done", "state=fialed", "plan>1", "test/acc>x", "pinned=yes"]) == 2
    errors = capsys.readouterr().err
    for text in ("5 problems", "did you mean state", "did you mean failed?", "plan is text", "'x' is no value", "true"):
        assert text in errors
    assert main(["runs", "--sort", "test/ac"]) == 2
    assert "did you mean test/acc" in capsys.readouterr().err
    assert main(["runs", "--yes"]) == 2
    assert main(["runs", "rm"]) == 2
    assert main(["runs", "rm", "good", "--json"]) == 2
    assert main(["runs", "pin", "good", "--yes"]) == 2


def test_runs_of_studies_are_listed_when_asked_for(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    make_run("studies/quick/a-s0-12345678")
    make_run("plain")
    assert main(["runs"]) == 0
    assert "1 of 2 runs; --all lists all" in capsys.readouterr().out
    assert main(["runs", "a-s0"]) == 0
    assert "no run is listed; --all lists 1 of studies and claims" in capsys.readouterr().out
    assert names(capsys) == ["plain"]
    assert names(capsys, "--all") == ["plain", "a-s0-12345678"]
    assert names(capsys, "study=quick") == ["a-s0-12345678"]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_the_table_fits_the_terminal(
    width: int, make_run: MakeRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    from regulo.core import console

    make_run(
        "2026-11-26-102346-resnet", **{"test/acc": 0.9, "test/loss": 0.3, "gap/acc": 0.02, "fit_seconds": 7000, "epochs": 10}
    )
    output = io.StringIO()
    monkeypatch.setattr(console, "CONSOLE", Console(file=output, width=width, markup=False, emoji=False, highlight=False))
    assert main(["runs"]) == 0
    text = output.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "2026-11-26-102346-resnet" in text
    assert ("90.00%" in text) == (width >= 60)
    assert ("1.9 h" in text) == (width >= 100)


# ---- removal


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    stream = io.StringIO(text)
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", stream)


def test_a_run_is_removed_after_a_question(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, part = make_run("plain"), make_run("studies/quick/a-s0-12345678")
    for text in ("n\n", "\n", ""):
        answer(monkeypatch, text)
        assert main(["runs", "rm", "plain", "a-s0"]) == 1
        assert plain.is_dir()
    question = capsys.readouterr().err
    assert "remove these 2 runs" in question
    assert "part of quick" in question
    answer(monkeypatch, "y\n")
    assert main(["runs", "rm", "plain", "a-s0"]) == 0
    assert not plain.exists()
    assert not part.exists()
    assert summarize_runs() == []


def test_without_a_terminal_only_yes_removes(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("run")
    assert main(["runs", "rm", "run"]) == 2
    assert "--yes removes without a question" in capsys.readouterr().err
    assert run.is_dir()
    assert main(["runs", "rm", "run", "--yes"]) == 0
    assert not run.exists()


def test_nothing_is_removed_if_one_of_them_must_stay(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    plain, pinned, running = make_run("plain"), make_run("pinned"), make_run("running", "running")
    assert main(["runs", "pin", "pinned"]) == 0
    Path("runs/link").symlink_to("plain")
    Path("elsewhere").mkdir()
    with file_lock(running / ".lock"):
        assert main(["runs", "rm", "plain", "pinned", "running", "runs/link", "elsewhere", "--yes"]) == 2
    errors = capsys.readouterr().err
    for text in ("regulo runs unpin pinned", "is being trained", "runs/link is a link", "elsewhere is not a run folder"):
        assert text in errors
    assert all(run.is_dir() for run in (plain, pinned, running, Path("elsewhere")))
    assert main(["runs", "unpin", "pinned"]) == 0
    assert main(["runs", "rm", "pinned", "--yes"]) == 0
    assert not pinned.exists()


def test_links_in_a_run_are_removed_and_not_followed(make_run: MakeRun, tmp_path: Path) -> None:
    run, outside = make_run("run"), tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (run / "figures").symlink_to(outside)
    (run / "checkpoints" / "best.ckpt").symlink_to(outside / "file")
    (run / ".lock").symlink_to(outside / "file")
    (run.parent / TRASH).symlink_to(outside)
    assert main(["runs", "rm", "run", "--yes"]) == 0
    assert not run.exists()
    assert [(file.name, file.read_text()) for file in outside.iterdir()] == [("file", "mine")]


def test_a_removal_that_is_interrupted_leaves_no_half_run(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("first")
    make_run("second")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        assert main(["runs", "rm", "first", "--yes"]) == 1
    assert "some of its files cannot be deleted" in capsys.readouterr().err
    assert [run.name for run in summarize_runs()] == ["second"]
    assert main(["runs", "rm", "second", "--yes"]) == 0
    assert not Path("runs", TRASH).exists(), "what was left is removed with the next run"


def test_the_beginning_of_a_name_is_not_enough_without_a_question(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("resnet-2")
    assert main(["runs", "rm", "resnet", "--yes"]) == 2
    assert "resnet: is only the beginning of a name — with --yes: runs/resnet-2" in capsys.readouterr().err
    assert run.is_dir()
    assert main(["runs", "rm", "latest", "--yes"]) == 2, "it has no validation loss"
    assert main(["runs", "rm", "runs", "--yes"]) == 2
    assert main(["runs", "rm", "runs/resnet-2/", "--yes"]) == 0
    assert not run.exists()


def test_a_damaged_run_can_be_removed(make_run: MakeRun) -> None:
    run = make_run("run")
    (run / "config.yaml").write_bytes(b"\xff")
    assert main(["runs", "rm", "run", "--yes"]) == 0
    assert not run.exists()


def test_a_pin_is_written_only_into_a_run(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("run")
    (run / "pinned").symlink_to(tmp_path / "outside")
    assert main(["runs", "pin", "run"]) == 2
    assert not (tmp_path / "outside").exists()
    assert main(["runs", "pin", "nowhere"]) == 2


@pytest.mark.long
def test_two_thousand_runs_are_listed_in_a_second(make_run: MakeRun) -> None:
    for number in range(2000):
        make_run(f"run-{number}", **{"test/acc": number / 2000})
    summarize_runs()
    start = time.process_time()
    assert len(summarize_runs()) == 2000
    assert time.process_time() - start < 1.0, "0.2 on an idle machine"
