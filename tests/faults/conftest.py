"""A fault is a test that injects it for real; its marker is its row in `docs/survival.md`, and what the test holds it to."""

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
    """What `@pytest.mark.fault(what, says=…, code=…, keeps=…)` promises. In `says`, … stands for anything."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], says: str, code: int, keeps: str) -> None:
        self.folder, self.capsys, self.says, self.code, self.keeps = folder, capsys, says, code, keeps

    def strikes(self, *overrides: str) -> dict[str, Any]:
        """Train for a few steps in this process, and hold what happens to the promise. Returns result.json."""
        code = main(["train", *FAST, "trainer=cpu", f"run_dir={self.folder}", *overrides])
        return self.judge(code, self.capsys.readouterr().err)

    def judge(self, code: int, said: str) -> dict[str, Any]:
        """Compare an ending with the promise."""
        assert code == self.code, said
        assert "Traceback" not in said
        if self.says:
            pattern = ".*".join(map(re.escape, self.says.split("…")))
            assert len(re.findall(f"^.*{pattern}", said, re.MULTILINE)) == 1, f"one line says {self.says}, not: {said}"
        assert not list(self.folder.rglob("*.part"))
        file = self.folder / "result.json"
        result = json.loads(file.read_text()) if file.is_file() else {}
        mends = code == 1 and result.get("error_type") != "NonFiniteLossError"  # which would come again
        goes_on = mends and (self.folder / "checkpoints" / "last.ckpt").is_file()
        assert not said or (f"go on with: regulo train --resume {shlex.quote(str(self.folder))}" in said) == goes_on
        if self.keeps == NOTHING:
            assert result == {}
        elif self.keeps == RUN:
            assert result["status"] == "done"
        else:
            assert (self.folder / "config.yaml").is_file()
        if self.keeps in (RUN, EPOCH):
            kept = checkpoint_io.read_checkpoint(self.folder / "checkpoints" / "last.ckpt")
            assert kept["epoch"] == (1 if self.keeps == RUN else 0)
            assert all(tensor.isfinite().all() for tensor in kept["state_dict"].values())
        return result


@pytest.fixture
def fault(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Fault:
    return Fault(tmp_path / "run", capsys, **request.node.get_closest_marker("fault").kwargs)


@pytest.fixture
def in_epoch_1(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], object]], None]:
    """Injects at the beginning of the second epoch, when one is kept."""

    def arrange(inject: Callable[[Any], object]) -> None:
        plain = ClassificationModule.on_train_epoch_start

        def begin(task: Any) -> None:
            plain(task)
            if task.current_epoch == 1:
                inject(task)

        monkeypatch.setattr(ClassificationModule, "on_train_epoch_start", begin)

    return arrange


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def fill(disk: Path, leave: int) -> None:
    """Leave so many bytes free."""
    import shutil

    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - leave))
    assert shutil.disk_usage(disk).free <= leave


def images(root: Path, classes: str | tuple[str, ...] = "ab", n: int = 20, size: int = 16) -> Path:
    """A folder of `n` images per class."""
    draw = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(draw.integers(0, 256, (size, size, 3), dtype="uint8")).save(root / name / f"{i:02}.jpg")
    return root


def of(root: Path) -> list[str]:
    """Overrides: train on this folder."""
    return ["data=image_folder", f"data.root={root}", "data.image_size=16", "data.batch_size=8", "trainer.limit_batches=null"]
