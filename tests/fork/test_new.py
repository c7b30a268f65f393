"""`make new`: a whole project or nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fork import new as new_module
from fork.formatting import format_code
from fork.generate import RECORD

from tests.fork.conftest import ROOT, commit_all, git


def run_new(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/new.py", *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def project(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projects") / "new" / "leaf-disease"
    process = run_new(checkout, "leaf disease", str(folder), "--form", "core", "--author", "Leaf Lab")
    assert process.returncode == 0, process.stderr
    assert "package leaf_disease, command leaf-disease" in process.stdout
    assert os.listdir(folder.parent) == ["leaf-disease"], "nothing else is left beside it"
    return folder


def test_the_project_is_one_commit_that_says_where_it_comes_from(project: Path, checkout: Path) -> None:
    assert git(project, "rev-list", "--count", "HEAD") == "1"
    assert not git(project, "status", "--porcelain")
    commit = git(checkout, "rev-parse", "HEAD")
    assert (
        git(project, "log", "-1", "--format=%s")
        == f"Leaf disease, made from Regulo {new_module.read_source(checkout).version} ({commit[:12]})"
    )
    assert commit in (project / RECORD).read_text()
    assert os.access(project / "scripts" / "two_nodes.sh", os.X_OK)


def test_the_project_runs_under_its_own_name(project: Path) -> None:
    environment = os.environ | {"PYTHONPATH": "src"}
    for words, expected in ((["--version"], "leaf-disease 0.1.0\n"), (["--help"], "usage: leaf-disease COMMAND")):
        command = [sys.executable, "-m", "leaf_disease", *words]
        process = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True)
        assert process.stdout.startswith(expected)
        assert not re.search("regulo|doctor|ablate|claims|  new ", process.stdout)


def test_the_project_is_formatted_as_its_own_lint_wants(project: Path) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    for words in (["check"], ["format", "--check"]):
        process = subprocess.run([ruff, *words, "--no-cache", "."], cwd=project, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stdout


def test_all_problems_are_reported_at_once_and_nothing_is_written(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    process = run_new(checkout, "data; x", str(tmp_path / "full"), "--form", "tiny", "--techniques", "mixup mixdown")
    assert process.returncode == 2
    assert process.stderr.splitlines()[0] == "new: 4 problems, nothing was written"
    for text in ("NAME: has ;", "there is no 'mixdown'", "FORM: there is no 'tiny'", "exists and is not an empty folder"):
        assert text in process.stderr
    assert os.listdir(tmp_path / "full") == ["file"]


def test_a_folder_inside_the_checkout_or_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "inside this checkout" in str(new_module.check_folder(str(ROOT / "x")))
    assert "is empty" in str(new_module.check_folder(" "))
    assert "not an empty folder" in str(new_module.check_folder(str(tmp_path / "file")))
    assert new_module.check_folder(str(tmp_path / "file" / "x")), "its parent is a file"
    assert not new_module.check_folder(str(tmp_path / "new" / "deeper"))
    (tmp_path / "empty").mkdir()
    assert not new_module.check_folder(str(tmp_path / "empty"))


def test_changes_that_are_not_in_a_commit_are_refused(upstream: Path, tmp_path: Path) -> None:
    (upstream / "Makefile").write_text("# changed\n")
    process = run_new(upstream, "leaf disease", str(tmp_path / "leaf"))
    assert process.returncode == 2
    assert "has changes that are not in a commit: Makefile — commit or stash them" in process.stderr
    assert not (tmp_path / "leaf").exists()


def test_a_failure_leaves_nothing(upstream: Path, tmp_path: Path) -> None:
    (upstream / "docs" / "design.md").write_text("no tree\n")  # the script that writes it into this page fails
    commit_all(upstream)
    process = run_new(upstream, "leaf disease", str(tmp_path / "leaf"))
    assert process.returncode == 1
    assert "design.md: has no lines" in process.stderr
    assert os.listdir(tmp_path) == ["upstream"]


def test_without_the_right_ruff_the_project_is_made_and_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "base.lock").write_text("ruff==0.0.0 \\\n    --hash=sha256:00\n")
    assert "run `make format` there" in format_code(tmp_path)


def test_an_installed_package_says_that_a_checkout_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from regulo.__main__ import main
    from regulo.core import new_project

    monkeypatch.setattr(new_project, "SCRIPT", tmp_path / "scripts" / "new.py")
    assert main(["new", "leaf disease", str(tmp_path / "leaf")]) == 2
    assert "git clone Regulo, and there: make new" in capsys.readouterr().err


def test_the_command_of_the_package_does_what_make_does(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from regulo.__main__ import main

    assert main(["new", "torch", str(tmp_path / "x"), "--form", "huge"]) == 2
    output = capfd.readouterr().err
    assert "NAME: the package would be called torch" in output
    assert not (tmp_path / "x").exists()
