"""Longer and shorter names break lines elsewhere: the new project is formatted with the version of ruff that it locks."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

OPTIONS = ["--no-cache", "--quiet"]
FIXES = (
    "F401,I001,RUF100"  # imports that a left-out test has needed, their order, and comments for ruff that have no effect any more
)


def format_code(folder: Path) -> str:
    """Format the code of a project. Returns a note for the user if no ruff of the right version can be had, else ""."""
    lock = (folder / "locks" / "base.lock").read_text(encoding="utf-8")
    entry = re.search(r"^ruff==(\S+) (?:.*\\\n)*.*", lock, re.M)
    if not entry:
        return ""
    with tempfile.TemporaryDirectory() as temporary:
        for command in _find_ruff(entry[0], Path(temporary)):
            if _run([*command, "--version"]) == f"ruff {entry[1]}":
                subprocess.run([*command, "check", *OPTIONS, "--fix-only", "--fixable", FIXES, "."], cwd=folder, check=True)
                subprocess.run([*command, "format", *OPTIONS, "."], cwd=folder, check=True)
                return ""
    return f"ruff {entry[1]} cannot be had here, so the code is not formatted yet: run `make format` there, and commit"


def _find_ruff(requirement: str, folder: Path) -> Iterator[list[str]]:
    """Commands that may be ruff: beside this Python, of this checkout, on the PATH; at last, installed into a folder."""
    for path in (
        Path(sys.executable).with_name("ruff"),
        Path(__file__).parents[2] / ".venv" / "bin" / "ruff",
        shutil.which("ruff"),
    ):
        if path and Path(path).is_file():
            yield [str(path)]
    (folder / "ruff.lock").write_text(requirement, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
    _run([*pip, "--target", str(folder / "packages"), "-r", str(folder / "ruff.lock")])
    yield [str(folder / "packages" / "bin" / "ruff")]


def _run(command: list[str]) -> str:
    """The output of a command, or "" if it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
