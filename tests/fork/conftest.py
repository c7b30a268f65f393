"""The files of this checkout as they are now, in memory and as a commit of their own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))  # the generator is no part of the package

IDENTITY = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *IDENTITY, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit_all(folder: Path, message: str = "a commit") -> str:
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def list_files() -> list[str]:
    """The files that are tracked, or will be."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    names = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    return [name for name in names if (ROOT / name).is_file()]


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    return {name: (ROOT / name).read_bytes() for name in list_files()}


@pytest.fixture(scope="session")
def checkout(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one commit of these files."""
    folder = tmp_path_factory.mktemp("regulo")
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod((ROOT / name).stat().st_mode)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit_all(folder)
    return folder


MODULE = '"""Numbers of Regulo."""\n\nONE = 1\n\n# the middle\n\n\nTWO = 2\n\n\n# the end\n\n\nTHREE = 3\n'
PYPROJECT = """\
[project]
name = "regulo"
version = "1.0"
description = "x"

[tool.ruff.lint]
ignore = [
]

[tool.pytest.ini_options]
empty_parameter_set_mark = "fail_at_collect"

[tool.importlinter]
layers = [
  "analysis",
]
"""
FILES = {
    "src/regulo/__init__.py": '"""Regulo."""\n\n__version__ = "1.0"\n',
    "src/regulo/__main__.py": '"""The command line."""\n',
    "src/regulo/core/__init__.py": '"""The core."""\n',
    "src/regulo/core/numbers.py": MODULE,
    "src/regulo/core/deleted.py": '"""A module that the user deletes."""\n',
    "src/regulo/core/moved.py": '"""A module that moves."""\n\n' + "\n".join(f"LINE_{i} = {i}" for i in range(20)) + "\n",
    "src/regulo/regularizers/__init__.py": '"""Techniques."""\n',
    "configs/train.yaml": "# regulo train\nseed: 0\n",
    "docs/design.md": "# Regulo\n\n<!-- begin: python scripts/tree.py -->\n<!-- end -->\n",
    "pyproject.toml": PYPROJECT,
    "Makefile": "help: ## show\n\t@echo\n",
    "locks/base.lock": "",
    ".gitignore": "/runs/\n",
}


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """A tiny Regulo with the generator of the real one."""
    folder = tmp_path / "upstream"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "scripts").mkdir()
    for name in ("new.py", "update.py", "tree.py"):
        shutil.copy(ROOT / "scripts" / name, folder / "scripts")
    shutil.copytree(ROOT / "scripts" / "fork", folder / "scripts" / "fork", ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit_all(folder, "version 1.0")
    return folder
