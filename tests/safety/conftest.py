"""What the tests of this folder share: copies of a finished run, and commands that stop right before they would start work."""

import functools
import io
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from regulo.__main__ import main
from regulo.config import compose
from regulo.core import yaml_files
from tests.conftest import FinishedRun


class Started(BaseException):
    """A command got past everything that may refuse, and would begin to work now."""


@pytest.fixture
def run_copy(finished_run: FinishedRun, tmp_path: Path) -> Path:
    """A copy of a run that trained, as somebody sends it."""
    return Path(shutil.copytree(finished_run.folder, tmp_path / "run", symlinks=True))


@pytest.fixture
def said() -> Callable[[Sequence[str]], tuple[int, str, str]]:
    return answer


def answer(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command; a traceback is a failure of the test."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


def refused(arguments: Sequence[str], *names: str) -> str:
    """What a command says that refuses, in lines of one problem each; every name must be in it."""
    code, _, err = answer(arguments)
    assert code == 2, err
    heading, *problems = err.rstrip("\n").split("\n")
    assert heading == f"regulo: {len(problems)} problem{'s' * (len(problems) > 1)}, nothing was started"
    assert all(line.startswith("  ") and ": " in line and line.isprintable() for line in problems), problems
    for name in names:
        assert name in err
    return err


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders of options and techniques are listed once: they do not change."""
    monkeypatch.setattr(yaml_files, "list_groups", functools.cache(yaml_files.list_groups))
    monkeypatch.setattr(compose.spec, "list_plugins", functools.cache(compose.spec.names))


@pytest.fixture
def stopped(remembered: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands raise Started where they would open data, train, measure, start a process or write."""
    import subprocess

    import regulo.evaluate

    import regulo.analysis.ablation.cells
    import regulo.analysis.ablation.runner
    import regulo.analysis.claims.lab.command
    import regulo.analysis.doctor.autofix
    import regulo.config.catalog
    import regulo.config.json_schema
    import regulo.evaluation.restore
    import regulo.training.build

    def start(*_: Any, **__: Any) -> Any:
        raise Started

    work = (tmp_path / "a" / "b" / "c").resolve()
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    for name in ("HOME", "NETRC"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(regulo.training.build, "build_components", start)
    monkeypatch.setattr(regulo.analysis.ablation.cells, "dry_run_cells", start)
    monkeypatch.setattr(regulo.analysis.ablation.runner, "run_all", start)
    monkeypatch.setattr(regulo.analysis.doctor.autofix, "apply_fixes", start)
    monkeypatch.setattr(regulo.analysis.claims.lab.command, "run_trials", start)
    monkeypatch.setattr(regulo.evaluate, "open_run_data", start)
    monkeypatch.setattr(regulo.config.catalog, "rows", start)
    monkeypatch.setattr(regulo.config.json_schema, "atomic_write", start)
    monkeypatch.setattr(subprocess, "run", start)
