"""`make update` over two versions of a tiny upstream, with changes on both sides."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fork.conftest import MODULE, ROOT, commit_all, git


@pytest.fixture
def project(upstream: Path, tmp_path: Path) -> Path:
    """A project made from it, with changes of the user."""
    folder = tmp_path / "oven"
    subprocess.run([sys.executable, "scripts/new.py", "Oven", str(folder), "--author", "Me"], cwd=upstream, check=True)
    edit(folder / "src/oven/core/numbers.py", "TWO = 2", "TWO = 22")
    edit(folder / "src/oven/core/moved.py", "LINE_3 = 3", "LINE_3 = 33")
    (folder / "src/oven/regularizers/mine.py").write_text('"""An extension of the user."""\n')
    (folder / "src/oven/core/deleted.py").unlink()
    edit(folder / "README.md", "# Oven", "# My oven")
    commit_all(folder, "mine")
    return folder


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def new_version(upstream: Path) -> str:
    """Version 2.0: a changed, a new and a moved file. Returns the commit."""
    edit(upstream / "src/regulo/__init__.py", "1.0", "2.0")
    edit(upstream / "src/regulo/core/numbers.py", "ONE = 1", "ONE = 11")
    (upstream / "src/regulo/core/added.py").write_text('"""Added to Regulo: `regulo train`."""\n')
    git(upstream, "mv", "src/regulo/core/moved.py", "src/regulo/core/found.py")
    return commit_all(upstream, "version 2.0")


def update(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | {"GIT_EDITOR": "true"}
    command = [sys.executable, "scripts/update.py", *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_changes_on_both_sides_are_merged(project: Path, upstream: Path) -> None:
    commit = new_version(upstream)
    process = update(project, "--from", str(upstream))
    assert process.returncode == 0, process.stderr
    assert "at Regulo 2.0" in process.stdout
    assert not git(project, "status", "--porcelain")
    numbers = (project / "src/oven/core/numbers.py").read_text()
    assert "ONE = 11" in numbers
    assert "TWO = 22" in numbers
    assert (project / "src/oven/core/added.py").read_text() == '"""Added to Oven: `oven train`."""\n'
    assert "LINE_3 = 33" in (project / "src/oven/core/found.py").read_text(), "a moved file keeps the user's change"
    assert not (project / "src/oven/core/moved.py").exists()
    assert not (project / "src/oven/core/deleted.py").exists(), "what the user has deleted stays deleted"
    assert (project / "src/oven/regularizers/mine.py").exists()
    assert (project / "README.md").read_text().startswith("# My oven"), "the user's pages are not touched"
    record = json.loads((project / ".regulo.json").read_text())
    assert (record["version"], record["commit"]) == ("2.0", commit)
    assert git(project, "log", "-1", "--format=%s") == f"Update from Regulo 1.0 to 2.0 ({commit[:12]})"
    assert git(project, "rev-list", "--count", "HEAD") == "3"

    process = update(project, "--from", str(upstream))
    assert (process.returncode, "nothing to do" in process.stdout) == (0, True)


def test_conflicts_are_those_of_git_and_can_be_undone(project: Path, upstream: Path) -> None:
    edit(upstream / "src/regulo/core/numbers.py", "TWO = 2", "TWO = 222")
    edit(upstream / "src/regulo/core/deleted.py", "A module", "A better module")
    new_version(upstream)
    before = git(project, "rev-parse", "HEAD")
    process = update(project, "--from", str(upstream))
    assert process.returncode == 1
    assert "2 in conflict" in process.stdout
    assert "both changed it: src/oven/core/numbers.py" in process.stdout
    assert "you deleted it, Regulo changed it: src/oven/core/deleted.py" in process.stdout
    text = (project / "src/oven/core/numbers.py").read_text()
    assert (
        text.index("<<<<<<<")
        < text.index("TWO = 22\n")
        < text.index("=======")
        < text.index("TWO = 222\n")
        < text.index(">>>>>>>")
    )

    process = update(project, "--from", str(upstream))
    assert process.returncode == 2, "not again in the middle of it"
    git(project, "cherry-pick", "--abort")
    assert git(project, "rev-parse", "HEAD") == before
    assert not git(project, "status", "--porcelain")

    update(project, "--from", str(upstream))
    (project / "src/oven/core/numbers.py").write_text(MODULE.replace("Regulo", "Oven"))
    git(project, "add", "--all")
    git(project, "-c", "core.editor=true", "cherry-pick", "--continue")
    assert json.loads((project / ".regulo.json").read_text())["version"] == "2.0", "in the same commit"


def test_a_project_may_be_ahead_of_a_version_and_take_versions_one_by_one(project: Path, upstream: Path) -> None:
    first = git(upstream, "rev-parse", "HEAD")
    second = new_version(upstream)
    edit(upstream / "src/regulo/__init__.py", "2.0", "3.0")
    edit(upstream / "src/regulo/core/numbers.py", "THREE = 3", "THREE = 333")
    commit_all(upstream, "version 3.0")
    assert update(project, "--from", str(upstream), "--ref", second).returncode == 0
    assert "THREE = 3\n" in (project / "src/oven/core/numbers.py").read_text()
    process = update(project, "--from", str(upstream), "--ref", first)
    assert (process.returncode, "is older than this project" in process.stderr) == (2, True)
    assert update(project, "--from", str(upstream)).returncode == 0
    assert "THREE = 333" in (project / "src/oven/core/numbers.py").read_text()


def test_what_stands_in_the_way_is_refused_and_nothing_changes(project: Path, upstream: Path, tmp_path: Path) -> None:
    new_version(upstream)
    head = git(project, "rev-parse", "HEAD")
    for arguments, reason in (
        ([], "no address of Regulo is recorded"),
        (["--from", str(tmp_path / "nowhere")], "does not exist"),
        (["--from", str(upstream), "--ref", "v9"], "v9"),
        (["--from", str(upstream), "--ref=--force"], "cannot begin with a dash"),
    ):
        process = update(project, *arguments)
        assert process.returncode == 2
        assert reason in process.stderr
    (project / "src/oven/core/added.py").write_text("untracked, and in the way\n")
    process = update(project, "--from", str(upstream))
    assert (process.returncode, "would be overwritten" in process.stderr) == (2, True)
    assert (project / "src/oven/core/added.py").read_text() == "untracked, and in the way\n"
    (project / "src/oven/core/added.py").unlink()
    edit(project / "configs/train.yaml", "seed: 0", "seed: 1")
    process = update(project, "--from", str(upstream))
    assert (process.returncode, "not in a commit: configs/train.yaml" in process.stderr) == (2, True)
    assert git(project, "rev-parse", "HEAD") == head

    other = tmp_path / "other"
    shutil.copytree(upstream, other)
    shutil.rmtree(other / ".git")
    git(other, "init", "--quiet")
    commit_all(other, "another history")
    git(project, "checkout", "--quiet", "--", ".")
    process = update(project, "--from", str(other))
    assert (process.returncode, "does not have the commit" in process.stderr) == (2, True)


def test_the_address_is_recorded_without_a_password(upstream: Path) -> None:
    from fork.git import remote_address

    for address, recorded in (
        ("https://user:secret@example.org/regulo.git", "https://example.org/regulo.git"),
        ("ssh://git@example.org/regulo.git", "ssh://git@example.org/regulo.git"),
        ("git@example.org:regulo.git", "git@example.org:regulo.git"),
        ("/home/somebody/regulo", ""),
        ("file:///home/somebody/regulo", ""),
    ):
        git(upstream, "config", "remote.origin.url", address)
        assert remote_address(upstream) == recorded


def test_regulo_itself_is_not_updated() -> None:
    process = subprocess.run([sys.executable, ROOT / "scripts" / "update.py"], capture_output=True, text=True, check=False)
    assert (process.returncode, "was not made from Regulo" in process.stderr) == (2, True)
