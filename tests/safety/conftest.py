"""Shared fixtures: copies of a finished run, and commands that stop just before they start their work."""

import functools
import io
import shutil
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from regulo.__main__ import main
from regulo.core import registry, yaml_files
from tests.conftest import FinishedRun


class WorkStartedError(BaseException):
    """A command has passed all checks, and would now start its work."""


@pytest.fixture
def run_copy(finished_run: FinishedRun, tmp_path: Path) -> Path:
    """A copy of a finished run, as a stranger might send it."""
    return Path(shutil.copytree(finished_run.folder, tmp_path / "run", symlinks=True))


def run_command(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command. An exception fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


def assert_refused(arguments: Sequence[str], *names: str) -> str:
    """Run a command that must be refused, with one line for each problem and with all names in them. Returns its stderr."""
    code, _, err = run_command(arguments)
    assert code == 2, err
    heading, *problems = err.rstrip("\n").split("\n")
    assert heading == f"regulo: {len(problems)} problem{'s' * (len(problems) > 1)}, nothing was started"
    assert all(line.startswith("  ") and ": " in line and line.isprintable() for line in problems), problems
    for name in names:
        assert name in err
    return err


@pytest.fixture
def cached_listings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders of options and plugins are listed only once: they do not change."""
    monkeypatch.setattr(yaml_files, "list_groups", functools.cache(yaml_files.list_groups))
    monkeypatch.setattr(registry, "list_plugins", functools.cache(registry.list_plugins))


@pytest.fixture
def stop_before_work(cached_listings: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands raise WorkStarted before they open data, train, measure, start a process or write."""
    import subprocess

    import regulo.analysis.ablation.cells
    import regulo.analysis.claims.lab.command
    import regulo.analysis.dashboard.content
    import regulo.analysis.doctor.autofix
    import regulo.analysis.launchers.runner
    import regulo.config.catalog
    import regulo.config.json_schema
    import regulo.evaluation.evaluate
    import regulo.training.build

    def raise_error(*_: Any, **__: Any) -> Any:
        raise WorkStartedError

    work = (tmp_path / "a" / "b" / "c").resolve()
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    for name in ("HOME", "NETRC"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(regulo.training.build, "build_components", raise_error)
    monkeypatch.setattr(regulo.analysis.ablation.cells, "dry_run_cells", raise_error)
    monkeypatch.setattr(regulo.analysis.launchers.runner, "run_all", raise_error)
    monkeypatch.setattr(regulo.analysis.doctor.autofix, "apply_fixes", raise_error)
    monkeypatch.setattr(regulo.analysis.claims.lab.command, "run_trials", raise_error)
    monkeypatch.setattr(regulo.analysis.dashboard.content, "Content", raise_error)
    monkeypatch.setattr(regulo.evaluation.evaluate, "open_run_data", raise_error)
    monkeypatch.setattr(regulo.config.catalog, "rows", raise_error)
    monkeypatch.setattr(regulo.config.json_schema, "atomic_write", raise_error)
    monkeypatch.setattr(subprocess, "run", raise_error)
