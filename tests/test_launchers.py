"""Jobs in processes of their own: an error in one does not disturb the others."""

import ctypes
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from regulo.analysis.launchers import local
from regulo.core import affinity


def note(file: Path, text: str = "done") -> None:
    print("printed", flush=True)
    file.write_text(text)


def threads_and_cores(file: Path) -> None:
    import torch

    file.write_text(f"{torch.get_num_threads()} {len(affinity.available_cores())} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}")


def raises() -> None:
    raise ValueError("no such thing\nand more")


def leaves() -> None:
    sys.exit(3)


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleeps(file: Path, seconds: float = 120) -> None:
    file.write_text(str(os.getpid()))
    time.sleep(seconds)


def test_a_job_that_fails_or_is_killed_is_reported_and_disturbs_no_other(tmp_path: Path) -> None:
    jobs = {"raises": raises, "killed": is_killed, "leaves": leaves}
    jobs |= {f"ok{i}": functools.partial(note, tmp_path / f"ok{i}") for i in range(3)}
    events = list(local.run_jobs(jobs, local.machine_slots(2), tmp_path / "logs"))
    starts = [e.name for e in events if e.seconds is None]
    errors = {e.name: e.error for e in events if e.seconds is not None}
    assert starts == list(jobs)
    assert errors == {
        "raises": "no such thing",
        "killed": "it was killed (signal 9)",
        "leaves": "3",
        **dict.fromkeys(("ok0", "ok1", "ok2"), ""),
    }
    assert all((tmp_path / f"ok{i}").read_text() == "done" for i in range(3))
    assert (tmp_path / "logs" / "ok0.txt").read_text() == "printed\n"
    assert "ValueError: no such thing" in (tmp_path / "logs" / "raises.txt").read_text()


def test_the_cores_are_divided(tmp_path: Path) -> None:
    cores = affinity.available_cores()
    for n in (1, 2):
        slots = local.machine_slots(n)
        assert sorted(core for slot in slots for core in slot.cores) == cores
    slot = local.Slot((cores[0],), "7")
    list(local.run_jobs({"one": functools.partial(threads_and_cores, tmp_path / "output")}, [slot], tmp_path))
    assert (tmp_path / "output").read_text() == "1 1 7"
    assert affinity.available_cores() == cores


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] not in "ZX"
    except OSError:
        return False


def wait_until(condition: Callable[[], object], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_jobs_end_when_the_generator_is_closed(tmp_path: Path) -> None:
    events = local.run_jobs({"sleeps": functools.partial(sleeps, tmp_path / "pid")}, local.machine_slots(1), tmp_path)
    next(events)
    assert wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = int((tmp_path / "pid").read_text())
    events.close()  # type: ignore[attr-defined]
    assert wait_until(lambda: not is_alive(pid), 5)


def holds_the_lock(file: Path, seconds: int = 120) -> None:
    """Sleep without letting another thread run."""
    file.write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(seconds)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux kills the children of a process")
@pytest.mark.parametrize("job", ["sleeps", pytest.param("holds_the_lock", marks=pytest.mark.long)])
def test_jobs_and_their_server_end_when_only_their_study_is_killed(job: str, tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text(
        "import functools, pathlib\n"
        "from regulo.analysis.launchers import local\n"
        f"from tests.test_launchers import {job} as job\n"
        "if __name__ == '__main__':\n"
        f"    here = pathlib.Path({str(tmp_path)!r})\n"
        "    slot = local.Slot(tuple(local.affinity.available_cores()))\n"
        "    list(local.run_jobs({'job': functools.partial(job, here / 'pid')}, [slot], here))\n"
    )
    root = Path(__file__).parents[1]
    study = subprocess.Popen([sys.executable, script], cwd=root, env=os.environ | {"PYTHONPATH": str(root)})
    assert wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), 120)
    pid = int((tmp_path / "pid").read_text())
    server = int(Path(f"/proc/{pid}/stat").read_text().split()[3])
    assert is_alive(pid)
    assert is_alive(server)
    assert server != study.pid
    study.kill()
    study.wait()
    assert wait_until(lambda: not is_alive(pid) and not is_alive(server), 15)


def ignores_sigterm(file: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleeps(file)


def test_jobs_that_do_not_end_share_one_time_to_do_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "GRACE", 2.0)
    files = [tmp_path / name for name in "abc"]
    jobs = {file.name: functools.partial(ignores_sigterm, file) for file in files}
    events = local.run_jobs(jobs, 3 * local.machine_slots(1), tmp_path)
    for _ in files:
        next(events)
    assert wait_until(lambda: all(file.exists() and file.read_text() for file in files))
    start = time.monotonic()
    events.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 4
    assert wait_until(lambda: not any(is_alive(int(file.read_text())) for file in files), 5)
