"""Jobs as tasks of Ray, on a cluster of two nodes on this machine."""

import functools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from regulo.analysis.launchers.options import LaunchOptions
from regulo.analysis.launchers.queue import Queue
from regulo.core.errors import InputError

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]  # Ray leaves sockets and processes to the end


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with one core each, besides a head without any."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster, nodes
    ray.shutdown()
    cluster.shutdown()


def note(file: Path) -> None:
    print("printed")
    file.write_text("done")


def raises() -> None:
    raise ValueError("no such thing\nand more")


def once_per_node(file: Path, pids: Path) -> None:
    """Waits to be killed at the first try, and ends well at the second."""
    if pids.exists():
        file.write_text("done")
    else:
        pids.write_text(str(os.getpid()))
        time.sleep(300)


def test_jobs_run_and_say_why_they_fail(cluster: Any, tmp_path: Path) -> None:
    queue = Queue.open(LaunchOptions(None, "ray"), tmp_path / "logs")
    assert queue.at_once == 2
    assert "Ray" in str(queue)
    jobs = {"good": functools.partial(note, tmp_path / "file"), "bad": raises}
    events = list(queue.run_jobs(jobs, lambda: True))
    assert {e.name: e.error for e in events if e.seconds is not None} == {"good": "", "bad": "no such thing"}
    assert (tmp_path / "file").read_text() == "done"
    assert (tmp_path / "logs" / "good.txt").read_text() == "printed\n"
    assert "ValueError" in (tmp_path / "logs" / "bad.txt").read_text()


def test_the_next_job_is_asked_for_when_there_is_room(cluster: Any, tmp_path: Path) -> None:
    queue = Queue.open(LaunchOptions(1, "ray"), tmp_path / "logs")
    files = [tmp_path / str(i) for i in range(3)]
    waiting = [(f.name, functools.partial(note, f)) for f in files]
    kinds = [(e.name, e.seconds is None) for e in queue.run(lambda: waiting.pop(0) if waiting else None)]
    assert kinds == [(str(i), start) for i in range(3) for start in (True, False)]


@pytest.mark.parametrize("victim", ["worker", "node"])
def test_a_job_whose_worker_or_node_dies_runs_again(cluster: Any, tmp_path: Path, victim: str) -> None:
    queue = Queue.open(LaunchOptions(None, "ray"), tmp_path / "logs")
    job = functools.partial(once_per_node, tmp_path / "file", tmp_path / "pids")
    waiting = [("job", job)]
    events = queue.run(lambda: waiting.pop(0) if waiting else None)
    assert next(events).seconds is None
    rest: list[Any] = []
    import threading

    thread = threading.Thread(target=lambda: rest.extend(events))
    thread.start()
    while not (tmp_path / "pids").exists():
        time.sleep(0.1)
    pid = int((tmp_path / "pids").read_text())
    if victim == "worker":
        os.kill(pid, signal.SIGKILL)
    else:
        _, nodes = cluster
        node = next(n for n in nodes if f"--node_id={n.node_id}" in Path(f"/proc/{parent_of(pid)}/cmdline").read_text())
        cluster[0].remove_node(node, allow_graceful=False)
    thread.join(timeout=120)
    assert not thread.is_alive()
    assert [e.error for e in rest] == [""]
    assert (tmp_path / "file").read_text() == "done"


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_wrong_parameters_are_refused(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="num_cpus"):
        Queue.open(LaunchOptions(None, "ray", {"num_cpu": 1}), tmp_path)
