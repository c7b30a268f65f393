"""One rank fails, is killed, hangs or is stopped: the run ends soon, names it, and leaves nothing behind but its folder."""

import sys
from pathlib import Path

import pytest

from regulo.tracking import checkpoint_io
from tests.distributed.conftest import ProcessResult, execute, result, script, training

SECONDS = 60
"""within which a run ends after one of its ranks has, or hangs"""


def run_with_fault(folder: Path, what: str, rank: int, *overrides: str) -> tuple[ProcessResult, float]:
    """A run in which something happens to a rank in the third epoch, and the seconds from there to its end."""
    command = training(folder / "run", "trainer.max_epochs=4", *overrides)
    process = execute(script("fault.py", f"4:{what}:{rank}", folder, *command))
    return process, process.at - float((folder / "step4").read_text())


def is_resumable(run: Path, process: ProcessResult) -> None:
    """The last checkpoint is whole, that of the second epoch; and the run says how to go on."""
    record = checkpoint_io.read_checkpoint(run / "checkpoints" / "last.ckpt")
    assert record["epoch"] == 1
    assert record["global_step"] == 4
    assert process.errors.count(f"regulo: when that is fixed, go on with: regulo train --resume {run}") == 1


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_a_killed_rank_ends_the_run_which_names_it(tmp_path: Path) -> None:
    process, seconds = run_with_fault(tmp_path, "is_killed", 1)
    assert process.code == 1
    assert "rank 1 was killed (SIGKILL" in process.line
    assert seconds < 20
    print(f"a killed rank: {seconds:.1f} s")
    assert result(tmp_path / "run")["status"] == "failed"
    assert "rank 1 was killed" in result(tmp_path / "run")["error"]
    is_resumable(tmp_path / "run", process)


WAYS = {
    ("raises", 0): "rank 0: ValueError: this rank has had enough",
    ("raises", 1): "rank 1: ValueError: this rank has had enough",
    ("runs_out_of_memory", 0): "rank 0: data.batch_size: out of memory with",
    ("runs_out_of_memory", 1): "rank 1: data.batch_size: out of memory with",
    ("hangs", 0): "rank 0 hangs at fault.py:",
    ("hangs", 1): "rank 1 hangs at fault.py:",
    ("is_stopped", 0): "rank 0 is stopped",
    ("is_stopped", 1): "rank 1 is stopped",
    ("is_killed", 0): "rank 0 was killed (SIGKILL",
    ("is_killed", 2): "rank 2 was killed (SIGKILL",
}


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
@pytest.mark.parametrize(("what", "rank"), WAYS)
def test_a_rank_that_ends_or_hangs_ends_the_run_which_names_it(what: str, rank: int, tmp_path: Path) -> None:
    process, seconds = run_with_fault(tmp_path, what, rank, "trainer.hang_timeout=6", f"trainer.devices={max(rank + 1, 2)}")
    assert process.code == 1
    assert WAYS[what, rank] in process.line
    assert seconds < 30
    print(f"| {what} | {rank} | {seconds:.1f} s |")
    record = result(tmp_path / "run")
    assert record["status"] == "failed"
    assert WAYS[what, rank] in record["error"]
    is_resumable(tmp_path / "run", process)
    traces = {file.name for file in (tmp_path / "run").glob("rank*.txt")}
    if what == "raises":
        assert "in raises" in (tmp_path / "run" / f"rank{rank}.txt").read_text()
        assert traces == {f"rank{rank}.txt"}
    again = execute([sys.executable, "-m", "regulo", "train", "--resume", str(tmp_path / "run")])
    assert again.code == 0, again.errors
    assert result(tmp_path / "run")["epochs"] == 4
    assert "restarts" not in result(tmp_path / "run")


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
@pytest.mark.parametrize("what", ["hangs", "is_stopped"])
def test_a_hang_ends_within_a_minute_by_default(what: str, tmp_path: Path) -> None:
    process, seconds = run_with_fault(tmp_path, what, 1)
    assert process.code == 1
    print(f"| {what}, trainer.hang_timeout as it is | 1 | {seconds:.1f} s |")
    assert seconds < SECONDS


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("raises", "rank 1: ValueError: this rank has had enough"),
        ("is_killed", "rank 1 ended without a word"),
        ("hangs", "rank 1 hangs at fault.py"),
    ],
)
def test_under_torchrun_too(what: str, message: str, tmp_path: Path) -> None:
    python, *fault = script("fault.py", f"4:{what}:1", tmp_path, *training(tmp_path / "run", "trainer.max_epochs=4"))
    process = execute([python, *TORCHRUN, *fault, "trainer.hang_timeout=6"])
    seconds = process.at - float((tmp_path / "step4").read_text())
    print(f"| torchrun, {what} | 1 | {seconds:.1f} s |")
    assert process.code == 1
    assert seconds < SECONDS
    assert message in process.errors
    assert result(tmp_path / "run")["status"] == "failed"
    assert message in result(tmp_path / "run")["error"]
    is_resumable(tmp_path / "run", process)
