"""The files of a run contain no keys, environment variables, home folder or machine name: every byte is searched."""

import json
import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from regulo.config import compose
from regulo.core.paths import expand_path, redact_home
from tests.conftest import FAST

KEY, TOKEN, REMOTE = "0planted1wandb2key3" * 2 + "45", "planted-foo-token", "planted-git-password"
HOST = platform.node()
COMMANDS = [["train"], ["report", "run"]]  # in one process, one after the other


@pytest.fixture(scope="module")
def run_with_secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with W&B and its report, in a git checkout in a home folder with planted secrets; its data are also there."""
    from PIL import Image

    home = tmp_path_factory.mktemp("elsewhere") / "planted-home"
    work = home / "work"
    for label in ("dark", "light"):
        (home / "images" / label).mkdir(parents=True)
        for i in range(24):
            Image.new("RGB", (16, 16), (i * 4 + 100 * (label == "light"),) * 3).save(home / "images" / label / f"{i}.png")
    work.mkdir()
    (home / ".netrc").write_text(f"machine api.example.org\n  login user\n  password {KEY}\n")
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    remote = f"https://user:{REMOTE}@example.org/x.git"
    subprocess.run(["git", "-C", str(work), "remote", "add", "origin", remote], check=True)
    secrets = {"HOME": str(home), "WANDB_API_KEY": KEY, "FOO_TOKEN": TOKEN, "WANDB_CACHE_DIR": str(home / ".cache")}
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "WANDB"))}
    overrides = [*FAST, "logger=wandb", "callbacks=default", "trainer=cpu", "data=image_folder", f"data.root={home / 'images'}"]
    overrides += ["data.image_size=16", "data.batch_size=8", f"run_dir={work / 'run'}"]
    script = "import json, sys; from regulo.__main__ import main; sys.exit(max(map(main, json.loads(sys.argv[1]))))"
    commands = [[*words, *overrides] if words == ["train"] else words for words in COMMANDS]
    process = subprocess.run(
        [sys.executable, "-c", script, json.dumps(commands)],
        cwd=work,
        env=environment | secrets,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert KEY not in process.stdout + process.stderr
    assert list((work / "run").glob("wandb/offline-run-*/run-*.wandb"))
    return work / "run"


def read_all_bytes(file: Path) -> bytes:
    """All bytes of a file; for an archive also those of its members; for a link its target."""
    if file.is_symlink():
        return os.readlink(file).encode()
    members = b""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            members = b"".join(archive.read(name) for name in archive.namelist())
    return file.read_bytes() + members


def find_secrets(folder: Path, *secrets: str) -> list[str]:
    """The files that contain one of the secrets, or have it in their names."""
    files = [p for p in folder.rglob("*") if p.is_symlink() or p.is_file()]
    assert len(files) > 10
    contents = {file: read_all_bytes(file) + file.name.encode() for file in files}
    return [f"{file.relative_to(folder)}: {s}" for file in files for s in secrets if s.encode() in contents[file]]


def test_the_report_is_searched_too(run_with_secrets: Path) -> None:
    assert (run_with_secrets / "report.html").is_file()


def test_no_key_and_no_variable_is_in_a_run_folder(run_with_secrets: Path) -> None:
    assert find_secrets(run_with_secrets, KEY, TOKEN, REMOTE) == []


def test_the_home_is_in_no_file_of_a_run(run_with_secrets: Path) -> None:
    assert find_secrets(run_with_secrets, "planted-home", str(run_with_secrets)) == []


def test_the_machine_is_not_named(run_with_secrets: Path) -> None:
    """By default, W&B's file has the command line, interpreter, host and git remote; environment.json has what matters."""
    wandb = next(run_with_secrets.glob("wandb/offline-run-*/run-*.wandb"))
    for word in (sys.executable, "example.org", "planted", "regulo.__main__", str(Path(sys.prefix))):
        assert word.encode() not in read_all_bytes(wandb), word
    if len(HOST) > 6:
        assert HOST.encode() not in read_all_bytes(wandb)
    assert not list(run_with_secrets.glob("wandb/**/logs/*"))


def test_a_data_folder_in_the_home_is_saved_with_a_tilde(run_with_secrets: Path) -> None:
    text = (run_with_secrets / "config.yaml").read_text()
    assert "root: ~/images" in text


def test_a_path_in_the_home_is_shown_with_a_tilde_and_expanded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "me"
    (home / "data").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    config = compose.load_config(
        [f"data.root={home}/data", f"run_dir={home}", "model=torchvision", f"model.weights={home}/w.pth"]
    )
    assert config.data.root == "~/data"
    assert config.run.run_dir == "~"
    assert config.model.weights == "~/w.pth"  # type: ignore[attr-defined]
    assert expand_path("~/data") == home / "data"
    other = f"{tmp_path}/meadow"
    assert compose.load_config([f"data.root={other}"]).data.root == other, "another folder whose name starts alike"
    assert redact_home(f"no room in '{home}/x', {home}: /mnt{home}/y") == f"no room in '~/x', ~: /mnt{home}/y"
    monkeypatch.setenv("HOME", "/")
    assert redact_home("/data") == "/data"
    assert expand_path("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")
