"""Memory that runs out, loader processes that are killed, and bugs."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import get_worker_info

from regulo.training import autotune, speed_memory
from regulo.training.module import ClassificationModule
from tests.conftest import FAST
from tests.faults.conftest import EPOCH, SETTINGS, Fault, make_images, train_on

FULL_MEMORY = """
import resource, sys
from pathlib import Path
from regulo.__main__ import main
from regulo.training.module import ClassificationModule

original = ClassificationModule.on_train_epoch_start

def on_train_epoch_start(self):
    original(self)
    if self.current_epoch == 1:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 2**25
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

ClassificationModule.on_train_epoch_start = on_train_epoch_start
sys.exit(main(sys.argv[1:]))
"""


def run_process(command: list[str]) -> tuple[int, str]:
    """Exit code and stderr of a command."""
    process = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    return process.returncode, process.stderr


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.fault(
    "The machine's memory is used up",
    says="regulo: the run failed: data.batch_size: out of memory with 1000 images per step and device — try data.batch_size=500",
    code=1,
    keeps=EPOCH,
)
def test_out_of_memory(fault: Fault) -> None:
    overrides = ["trainer=cpu", "data.batch_size=1000", "model.width=16", "regularizer=none", f"run_dir={fault.folder}"]
    code, stderr = run_process([sys.executable, "-c", FULL_MEMORY, "train", *FAST, *overrides])
    assert fault.check(code, stderr)["error_type"] == "RuntimeError"


@pytest.mark.fault(
    "The GPU's memory is used up",
    says="regulo: the run failed: data.batch_size: out of memory with 64 images per step and device — try data.batch_size=32",
    code=1,
    keeps=EPOCH,
)
def test_out_of_gpu_memory(fault: Fault, in_epoch_1: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB")

    in_epoch_1(lambda task: monkeypatch.setattr(task.classifier.model, "forward", forward))
    assert fault.train()["error_type"] == "OutOfMemoryError"


@pytest.mark.fault(
    "Memory is used up before training, where the speed is measured",
    says="data.batch_size: out of memory with 64 images per step and device — try data.batch_size=32",
    code=2,
    keeps="nothing was started",
)
def test_out_of_memory_before_training(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    def choose_fastest(*_: Any) -> None:
        torch.empty(2**50)  # a petabyte, from the real allocator

    monkeypatch.setattr(speed_memory, "recall", lambda name: None)
    monkeypatch.setattr(autotune, "choose_fastest", choose_fastest)
    fault.train("trainer.precision=auto")


@pytest.mark.fault(
    "A loader process is killed",
    says="regulo: the run failed: data.num_workers: a loader process (pid …) … — most often the machine's memory is full",
    code=1,
    keeps=EPOCH,
)
def test_killed_worker(fault: Fault, tmp_path: Path, in_epoch_1: Any) -> None:
    pids: list[int] = []
    times: list[float] = []

    def inject(task: Any) -> None:
        pids.append(multiprocessing.active_children()[0].pid or 0)
        os.kill(pids[0], signal.SIGKILL)
        times.append(time.perf_counter())

    in_epoch_1(inject)
    result = fault.train(*train_on(make_images(tmp_path / "images", n=30)), "data.num_workers=2")
    assert time.perf_counter() - times[0] < 60
    assert f"(pid {pids[0]}) was killed: Killed" in result["error"] or "ended unexpectedly" in result["error"], result
    deadline = time.monotonic() + 20
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not multiprocessing.active_children(), "no loader process is left"


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("unshare") or os.geteuid(), reason="needs a mount namespace")
@pytest.mark.fault(
    "Shared memory (`/dev/shm`) is too small for the loader processes",
    says="regulo: the run failed: data.num_workers: the loader processes found no room in shared memory (/dev/shm) — enlarge it",
    code=1,
    keeps=SETTINGS,
)
def test_full_shared_memory(fault: Fault, tmp_path: Path) -> None:
    small = "mount -t tmpfs -o size=64k tmpfs /dev/shm && exec"
    overrides = ["trainer=cpu", "data.batch_size=512", "data.device=loader", "data.num_workers=2", f"run_dir={fault.folder}"]
    train = [sys.executable, "-m", "regulo", "train", *[o for o in FAST if "workers" not in o], *overrides]
    fault.check(*run_process(["unshare", "-m", "sh", "-c", f'{small} "$@"', "sh", *train]))


@pytest.mark.fault("The model, an extension or the framework has a bug", says="a traceback", code=1, keeps=EPOCH)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_bug(workers: int, fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_epoch_1: Any) -> None:
    def training_step(*_: Any) -> None:
        raise ZeroDivisionError("a bug\nof two lines")

    in_epoch_1(lambda _: monkeypatch.setattr(ClassificationModule, "training_step", training_step))
    with pytest.raises(ZeroDivisionError):  # Python prints it, and exits with 1
        fault.train("data.device=loader", f"data.num_workers={workers}")
    fault.says = ""
    result = fault.check(1, "")
    assert (result["status"], result["error_type"], result["error"]) == ("failed", "ZeroDivisionError", "a bug")


@pytest.mark.fault("A transform has a bug, in a loader process", says="a traceback", code=1, keeps=SETTINGS)
def test_a_bug_in_a_worker(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    from regulo.data.components.dataset import BatchedImages

    original = BatchedImages._image

    def _image(self: BatchedImages, *key: Any) -> Any:
        if get_worker_info() is not None:
            raise ZeroDivisionError("a bug")
        return original(self, *key)

    monkeypatch.setattr(BatchedImages, "_image", _image)
    with pytest.raises(ZeroDivisionError):
        fault.train("data.device=loader", "data.num_workers=2")
    fault.says = ""
    assert fault.check(1, "")["error"] == "ZeroDivisionError: a bug"
