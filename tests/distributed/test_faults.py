"""One rank fails, is killed, hangs or is stopped: the run ends soon, names it, and leaves nothing behind but its folder."""

import json
import sys
from pathlib import Path

import pytest

from regulo import checkpoints
from tests.distributed.conftest import Ended, execute, result, script, training

SECONDS = 60
"""within which a run ends after one of its ranks has, or hangs"""


def spoilt(folder: Path, what: str, rank: int, *overrides: str) -> tuple[Ended, float]:
    """A run in which something happens to a rank in the third epoch, and the seconds from there to its end."""
    note = folder / "note"
    command = training(folder / "run", "trainer.max_epochs=4", *overrides)
    ended = execute(script("fault.py", what, rank, 4, note, *command))
    return ended, ended.at - float(note.read_text().split()[1])


def is_resumable(run: Path, ended: Ended) -> None:
    """The last checkpoint is whole, that of the second epoch; and the run says how to go on."""
    kept = checkpoints.read(run / "checkpoints" / "last.ckpt")
    assert kept["epoch"] == 1
    assert kept["global_step"] == 4
    assert ended.errors.count(f"regulo: when that is mended, go on with: regulo train --resume {run}") == 1


@pytest.mark.usefixtures("no_orphans")
def test_a_killed_rank_ends_the_run_which_names_it(tmp_path: Path) -> None:
    ended, seconds = spoilt(tmp_path, "is_killed", 1)
    assert ended.code == 1
    assert "rank 1 was killed (SIGKILL" in ended.line
    assert seconds < 20
    print(f"a killed rank: {seconds:.1f} s")
    assert result(tmp_path / "run")["status"] == "failed"
    assert "rank 1 was killed" in result(tmp_path / "run")["error"]
    is_resumable(tmp_path / "run", ended)
    again = execute([sys.executable, "-m", "regulo", "train", "--resume", str(tmp_path / "run")])
    assert again.code == 0, again.errors
    assert result(tmp_path / "run")["epochs"] == 4


WAYS = {
    ("raises", 0): (1, "rank 0: ValueError: this rank has had enough"),
    ("raises", 1): (1, "rank 1: ValueError: this rank has had enough"),
    ("runs_out_of_memory", 0): (1, "rank 0: data.batch_size: out of memory with"),
    ("runs_out_of_memory", 1): (1, "rank 1: data.batch_size: out of memory with"),
    ("hangs", 0): (1, "rank 0 hangs at fault.py:"),
    ("hangs", 1): (1, "rank 1 hangs at fault.py:"),
    ("is_stopped", 0): (-9, "rank 0 has not been heard of for"),
    ("is_stopped", 1): (1, "rank 1 has not been heard of for"),
    ("is_killed", 0): (-9, "rank 0 ended without a word"),
    ("is_killed", 2): (1, "rank 2 was killed (SIGKILL"),
}


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
@pytest.mark.parametrize(("what", "rank"), WAYS)
def test_a_rank_that_ends_or_hangs_ends_the_run_which_names_it(what: str, rank: int, tmp_path: Path) -> None:
    code, told = WAYS[what, rank]
    ended, seconds = spoilt(tmp_path, what, rank, "trainer.hang_seconds=6", f"trainer.devices={max(rank + 1, 2)}")
    assert ended.code == code
    assert told in ended.line
    assert seconds < 30
    print(f"| {what} | {rank} | {seconds:.1f} s |")
    kept = result(tmp_path / "run")
    assert kept["status"] == "failed"
    assert told in kept["error"]
    is_resumable(tmp_path / "run", ended)
    if what == "raises":
        assert "in raises" in (tmp_path / "run" / f"rank{rank}.txt").read_text()


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
def test_a_hang_ends_within_a_minute_by_default(tmp_path: Path) -> None:
    ended, seconds = spoilt(tmp_path, "hangs", 1)
    assert ended.code == 1
    print(f"a hanging rank, trainer.hang_seconds as it is: {seconds:.1f} s")
    assert seconds < SECONDS


@pytest.mark.long
@pytest.mark.usefixtures("no_orphans")
@pytest.mark.parametrize("what", ["is_killed", "hangs"])
def test_under_torchrun_too(what: str, tmp_path: Path) -> None:
    note, torchrun = tmp_path / "note", ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    python, *fault = script("fault.py", what, 1, 4, note, *training(tmp_path / "run", "trainer.max_epochs=4"))
    ended = execute([python, *torchrun, *fault, "trainer.hang_seconds=6"])
    seconds = ended.at - float(note.read_text().split()[1])
    print(f"| torchrun, {what} | 1 | {seconds:.1f} s |")
    assert ended.code == 1
    assert seconds < SECONDS
    told = "rank 1 ended without a word" if what == "is_killed" else "rank 1 hangs at fault.py"
    assert told in ended.errors
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "failed"
    is_resumable(tmp_path / "run", ended)
