"""A W&B server that refuses, hangs or dies: the real client with a server on this machine."""

import csv
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from regulo.tracking.backends import wandb as wandb_backend
from tests.faults.conftest import NOTHING, RUN, SETTINGS, Fault
from tests.faults.wandb_server import Server, serve

UPLOAD_WARNING = (
    "wandb: WARNING Fatal error while uploading data. Some run data will not be synced, but it will still be written to disk."
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """A function that starts a server in some mood; the environment points to it."""

    @contextmanager
    def start_server(mood: str) -> Iterator[Server]:
        with serve(mood) as server:
            monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
            monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
            yield server

    import wandb

    wandb.teardown()  # the service of an earlier test uses another server
    yield start_server
    wandb.teardown()


def count_rows(folder: Path) -> int:
    """Rows of metrics.csv with a training loss."""
    return sum(1 for row in csv.DictReader((folder / "metrics.csv").read_text().splitlines()) if row["train/loss"])


def test_a_run_reaches_the_server_of_these_tests(run: Any, server: Any) -> None:
    with server("well") as healthy_server:
        folder, result = run("logger=wandb_online")
        assert result["status"] == "done"
        assert healthy_server.rows >= count_rows(folder) == 4


@pytest.mark.fault(
    "W&B's server hangs before the run",
    says="logger.wandb: the W&B server … does not answer: timed out — or use logger=wandb",
    code=2,
    keeps=NOTHING,
)
def test_hangs_before(fault: Fault, server: Any) -> None:
    with server("hangs"):
        start = time.perf_counter()
        fault.train("logger=wandb_online")
        assert time.perf_counter() - start < 10


@pytest.mark.fault(
    "W&B's server refuses the key",
    says="regulo: the run failed: logger.wandb: W&B: user is not logged in — look at WANDB_API_KEY and the server",
    code=1,
    keeps=SETTINGS,
)
def test_refuses(fault: Fault, server: Any) -> None:
    with server("refuses"):
        start = time.perf_counter()
        fault.train("logger=wandb_online")
        assert time.perf_counter() - start < 30


@pytest.mark.fault(
    "W&B's server hangs when the run begins",
    says="regulo: the run failed: logger.wandb: W&B: Timed out initializing run",
    code=1,
    keeps=SETTINGS,
)
def test_hangs_at_the_beginning(fault: Fault, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_backend, "START_TIMEOUT", 2.0)
    with server("hangs at work"):
        fault.train("logger=wandb_online")


@pytest.mark.parametrize("address", ["myserver", "http://[::1"], ids=["no scheme", "no address"])
@pytest.mark.fault(
    "The address of W&B's server is none", says="WANDB_BASE_URL: '…' is refused by W&B: … — unset it", code=2, keeps=NOTHING
)
def test_wrong_address(address: str, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", address.replace("//", "//me:secret@"))
    fault.train("logger=wandb_online")


@pytest.mark.parametrize("address", ["http://127.0.0.1:PORT"], ids=["speaks something else"])
@pytest.mark.fault(
    "The address of W&B's server leads nowhere",
    says="logger.wandb: the W&B server … — or use logger=wandb",
    code=2,
    keeps=NOTHING,
)
def test_address(address: str, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=speak_no_http, args=(other,), daemon=True).start()
        address = address.replace("PORT", str(other.getsockname()[1])).replace("//", "//me:secret@")
        monkeypatch.setenv("WANDB_BASE_URL", address)
        fault.train("logger=wandb_online")


def speak_no_http(server: socket.socket) -> None:
    with server.accept()[0] as connection:
        connection.recv(1)
        connection.sendall(b"220 ready\r\n")


@pytest.mark.fault("W&B's own process is killed", says="regulo: the W&B process has ended", code=0, keeps=RUN)
def test_its_process_is_killed(fault: Fault, in_epoch_1: Any) -> None:
    def kill() -> None:
        parent = f"\nPPid:\t{os.getpid()}\n"
        status = [p.read_text() for p in Path("/proc").glob("[0-9]*/status")]
        (core,) = [s for s in status if s.startswith("Name:\twandb-core") and parent in s]
        os.kill(int(core.partition("\nPid:\t")[2].split()[0]), signal.SIGKILL)

    in_epoch_1(lambda _: kill())
    fault.train("logger=wandb")
    assert count_rows(fault.folder) == 4


@pytest.mark.fault("W&B's server dies during the run", says=UPLOAD_WARNING, code=0, keeps=RUN)
def test_dies(fault: Fault, server: Any, monkeypatch: pytest.MonkeyPatch, in_epoch_1: Any) -> None:
    monkeypatch.setattr(wandb_backend, "FINISH_TIMEOUT", 8.0)
    with server("well") as wandb_server:
        in_epoch_1(lambda _: wandb_server.die())
        start = time.perf_counter()
        fault.train("logger=wandb_online")
        assert time.perf_counter() - start < 120
        assert count_rows(fault.folder) == 4
        assert list(fault.folder.glob("wandb/run-*/*.wandb")), "the copy that `wandb sync` sends"


@pytest.mark.long
@pytest.mark.fault("W&B's server hangs during the run", says=UPLOAD_WARNING, code=0, keeps=RUN)
def test_hangs_during(fault: Fault, server: Any, monkeypatch: pytest.MonkeyPatch, in_epoch_1: Any) -> None:
    monkeypatch.setattr(wandb_backend, "FINISH_TIMEOUT", 8.0)
    with server("well") as wandb_server:
        in_epoch_1(lambda _: setattr(wandb_server, "mood", "hangs"))
        start = time.perf_counter()
        fault.train("logger=wandb_online")
        assert time.perf_counter() - start < 120
        assert count_rows(fault.folder) == 4
