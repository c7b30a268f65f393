"""Tests that inject real faults. The marker of a test is its row in `docs/survival.md`, and the test checks what it promises."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regulo.__main__ import main
from regulo.tracking import checkpoint_io
from regulo.training.module import ClassificationModule
from tests.conftest import FAST

NOTHING = "nothing was started"
SETTINGS = "settings and curves; no epoch was finished"
EPOCH = "everything up to the last whole epoch"
RUN = "the whole run"


class Fault:
    """What `@pytest.mark.fault(what, says=…, code=…, keeps=…)` promises. In `says`, … stands for any text."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], says: str, code: int, keeps: str) -> None:
        self.folder, self.capsys, self.says, self.code, self.keeps = folder, capsys, says, code, keeps

    def train(self, *overrides: str) -> dict[str, Any]:
        """Train for a few steps in this process, and check the promise. Returns result.json."""
        code = main(["train", *FAST, "trainer=cpu", f"run_dir={self.folder}", *overrides])
        return self.check(code, self.capsys.readouterr().err)

    def check(self, code: int, stderr: str) -> dict[str, Any]:
        """Compare the exit code, the messages and the run folder with the promise. Returns result.json."""
        assert code == self.code, stderr
        assert "Traceback" not in stderr
        if self.says:
            pattern = ".*".join(map(re.escape, self.says.split("…")))
            lines = re.findall(f"^.*{pattern}", stderr, re.MULTILINE)
            assert len(lines) == 1, f"expected one line with {self.says}, not: {stderr}"
        assert not list(self.folder.rglob("*.part"))
        file = self.folder / "result.json"
        result = json.loads(file.read_text()) if file.is_file() else {}
        self._check_resume_hint(stderr, result)
        self._check_folder(result)
        return result

    def _check_resume_hint(self, stderr: str, result: dict[str, Any]) -> None:
        """The command that resumes the run is printed if there is a checkpoint and if the failure would not repeat itself."""
        last = self.folder / "checkpoints" / "last.ckpt"
        resumable = self.code == 1 and result.get("error_type") != "NonFiniteLossError" and last.is_file()
        hint = f"go on with: regulo train --resume {shlex.quote(str(self.folder))}"
        assert not stderr or (hint in stderr) == resumable

    def _check_folder(self, result: dict[str, Any]) -> None:
        if self.keeps == NOTHING:
            assert result == {}
        elif self.keeps == RUN:
            assert result["status"] == "done"
        else:
            assert (self.folder / "config.yaml").is_file()
        if self.keeps in (RUN, EPOCH):
            checkpoint = checkpoint_io.read_checkpoint(self.folder / "checkpoints" / "last.ckpt")
            assert checkpoint["epoch"] == (1 if self.keeps == RUN else 0)
            assert all(tensor.isfinite().all() for tensor in checkpoint["state_dict"].values())


@pytest.fixture
def fault(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Fault:
    return Fault(tmp_path / "run", capsys, **request.node.get_closest_marker("fault").kwargs)


@pytest.fixture
def in_epoch_1(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], object]], None]:
    """A function that sets what happens at the start of epoch 1, after the checkpoint of epoch 0."""

    def register(inject: Callable[[Any], object]) -> None:
        original = ClassificationModule.on_train_epoch_start

        def on_train_epoch_start(module: Any) -> None:
            original(module)
            if module.current_epoch == 1:
                inject(module)

        monkeypatch.setattr(ClassificationModule, "on_train_epoch_start", on_train_epoch_start)

    return register


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], capture_output=True, text=True, check=False)
    if mount.returncode:
        pytest.skip(f"file systems cannot be mounted here: {mount.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def fill(disk: Path, leave: int) -> None:
    """Fill the disk until `leave` bytes are free."""
    import shutil

    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - leave))
    assert shutil.disk_usage(disk).free <= leave


def make_images(root: Path, classes: str | tuple[str, ...] = "ab", n: int = 20, size: int = 16) -> Path:
    """A folder of `n` images per class."""
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype="uint8")).save(root / name / f"{i:02}.jpg")
    return root


def train_on(root: Path) -> list[str]:
    """Overrides to train on this folder of images."""
    return ["data=image_folder", f"data.root={root}", "data.image_size=16", "data.batch_size=8", "trainer.limit_batches=null"]
