"""Real processes: a test starts `regulo` as a person would, and looks at what comes of it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
TRY = ["debug=fast", "model.width=4", "data.num_workers=0", "logger=csv", "callbacks=none"]
LAUNCHERS = ("REGULO_", "PYTEST", "SLURM_", "TORCHELASTIC_", "MASTER_", "RANK", "LOCAL_", "WORLD_SIZE", "GROUP_")


def environment(**more: str) -> dict[str, str]:
    """Of a process that nobody has launched."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
    return plain | {"PYTHONPATH": f"{SOURCE}{os.pathsep}{HERE.parents[1]}"} | more


def script(name: str, *arguments: object) -> list[str]:
    """The command that runs a script of this folder."""
    return [sys.executable, str(HERE / name), *map(str, arguments)]


def training(folder: Path, *overrides: str) -> list[str]:
    """The arguments of a short run on two processes."""
    return ["train", *TRY, "trainer=ddp_cpu", f"run_dir={folder}", *overrides]


@dataclass(frozen=True)
class ProcessResult:
    """How a command ended."""

    code: int
    out: str
    errors: str
    at: float  # the time of it

    @property
    def line(self) -> str:
        """The one line that says that the run failed."""
        lines = [line for line in self.errors.splitlines() if line.startswith("regulo: the run failed:")]
        assert len(lines) == 1, self.errors[-3000:]
        return lines[0]


def execute(command: Sequence[str], seconds: float = 600, **env: str) -> ProcessResult:
    """Run a command to its end."""
    process = subprocess.run(command, env=environment(**env), capture_output=True, text=True, timeout=seconds, check=False)
    return ProcessResult(process.returncode, process.stdout, process.stderr, time.time())


def result(folder: Path) -> dict[str, Any]:
    """What result.json says."""
    return dict(json.loads((folder / "result.json").read_text()))


def alive(text: str) -> list[str]:
    """Command lines of living processes that contain a text."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            state = (file.parent / "stat").read_text().rpartition(")")[2].split()[0]
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and state not in "ZX" and file.parent.name != str(os.getpid()):
            lines.append(line)
    return lines


@pytest.fixture
def no_orphans(tmp_path: Path) -> Any:
    """Behind the test: no process has the test's folder in its command line any more."""
    yield
    end = time.monotonic() + 10
    while alive(str(tmp_path)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not alive(str(tmp_path))
