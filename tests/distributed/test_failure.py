"""Which process is named as the cause, from what is known of all of them."""

import faulthandler
import sys
import threading
import time
from pathlib import Path

import pytest

from regulo.core.errors import InputError, NonFiniteLossError, RunError
from regulo.distributed.failure import FailureReport, PeerFailedError, find_cause, read_hang
from regulo.distributed.watchdog import WatchdogCallback

IN_COLLECTIVE = "/x/torch/distributed/distributed_c10d.py"


def error(message: str, time: float) -> FailureReport:
    return FailureReport(message, time=time)


def echo(message: str, time: float) -> FailureReport:
    return FailureReport(message, is_echo=True, time=time)


def dump(folder: Path, rank: int, file: str) -> None:
    """A stack as faulthandler writes it."""
    other = 'Thread 0x01 (most recent call first):\n  File "/x/threading.py", line 1 in wait\n'
    main = f'Thread 0x02 (most recent call first):\n  File "{file}", line 12 in read\n  File "/x/train.py", line 9 in fit\n'
    (folder / f"rank{rank}.txt").write_text(f"Timeout (0:00:45)!\n{other}\n{main}")


@pytest.mark.parametrize(
    ("reports", "unresponsive", "dumps", "message"),
    [
        ({1: error("b", 2), 2: error("a", 1)}, {}, {}, "a"),
        ({0: echo("gloo", 1), 1: error("rank 1 was killed", 2)}, {}, {}, "rank 1 was killed"),
        ({0: echo("gloo", 2), 1: echo("closed", 1)}, {}, {}, "closed"),
        ({0: echo("gloo", 1)}, {1: "ended without a word"}, {}, "rank 1 ended without a word"),
        ({}, {0: "x", 1: "x"}, {0: IN_COLLECTIVE, 1: "/y/a.py"}, "rank 1 hangs at a.py:12 in read: no progress for 0:00:45"),
        (
            {},
            {0: "x", 1: "x"},
            {0: "/y/b.py", 1: "/y/a.py"},
            "rank 0 hangs at b.py:12 in read; rank 1 hangs at a.py:12 in read: no",
        ),
        ({}, {0: "x", 1: "is stopped"}, {0: IN_COLLECTIVE}, "rank 1 is stopped"),
        ({}, {0: "x", 1: "x"}, {0: IN_COLLECTIVE, 1: IN_COLLECTIVE}, "rank 0 hangs at distributed_c10d.py:12 in read; rank 1"),
        ({0: echo("gloo", 1)}, {1: "x"}, {1: "/y/a.py"}, "rank 1 hangs at a.py:12 in read"),
        ({0: error("a", 1)}, {1: "x"}, {1: "/y/a.py"}, "a"),
    ],
)
def test_the_process_that_is_the_cause_is_named(
    reports: dict[int, FailureReport], unresponsive: dict[int, str], dumps: dict[int, str], message: str, tmp_path: Path
) -> None:
    for rank, file in dumps.items():
        dump(tmp_path, rank, file)
    assert find_cause(reports, unresponsive, tmp_path).message.startswith(message)


def test_a_report_says_what_others_need_to_know() -> None:
    bug = FailureReport.of(ValueError("a\nb"), 1)
    assert (bug.message, bug.kind) == ("rank 1: ValueError: a (its traceback is in the run folder: rank1.txt)", "ValueError")
    failure = RunError("disk full")
    failure.__cause__ = OSError()
    report = FailureReport.of(failure, 0)
    assert (report.message, report.kind) == ("rank 0: disk full (its traceback is in the run folder: rank0.txt)", "OSError")
    assert FailureReport.of(RuntimeError("[gloo/pair.cc:1] Connection closed by peer"), 1).is_echo
    assert not FailureReport.of(RuntimeError("shapes differ"), 1).is_echo
    final_report = FailureReport.of(NonFiniteLossError("the loss is nan"), 3)
    assert (final_report.message, final_report.kind, final_report.is_final) == ("the loss is nan", "NonFiniteLossError", True), (
        "on all ranks"
    )
    assert FailureReport.of(PeerFailedError("rank 2: it is late"), 0).message == "rank 2: it is late"
    assert FailureReport.of(InputError(), 1).is_final


def test_a_real_stack_is_read(tmp_path: Path) -> None:
    def hang() -> None:
        faulthandler.dump_traceback_later(0.2, file=file)
        time.sleep(0.5)

    other = threading.Thread(target=time.sleep, args=(0.6,))
    other.start()
    with (tmp_path / "rank0.txt").open("w") as file:
        hang()
    faulthandler.cancel_dump_traceback_later()
    other.join()
    hang_report = read_hang(tmp_path / "rank0.txt")
    assert hang_report
    line = sys._getframe().f_code.co_firstlineno + 3
    assert hang_report.location == f"test_failure.py:{line} in hang"
    assert not hang_report.in_collective
    assert read_hang(tmp_path / "rank1.txt") is None


def test_the_timeout_shrinks_after_the_first_step_and_grows_with_the_pauses(tmp_path: Path) -> None:
    file = tmp_path / "rank0.txt"
    with WatchdogCallback(6.0, file, 0) as watchdog:
        assert watchdog.timeout == 60.0
        watchdog.armed_at -= 20
        watchdog.progress()
        assert watchdog.timeout == 60.0, "before the first step"
        watchdog.armed_at -= 20
        watchdog.on_train_batch_end()
        assert watchdog.timeout == 6.0
        watchdog.armed_at -= 1
        watchdog.progress()
        assert watchdog.timeout == 6.0
        watchdog.armed_at -= 4
        watchdog.progress()
        assert watchdog.timeout == pytest.approx(12.0, abs=0.5)
    assert not file.exists()
