"""What a run leaves behind tells nothing of keys, environment variables, home or machine: every byte of it is looked through."""

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


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with W&B, started in a git checkout inside a home with planted secrets, its data there, too; with its page."""
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
    planted = {"HOME": str(home), "WANDB_API_KEY": KEY, "FOO_TOKEN": TOKEN, "WANDB_CACHE_DIR": str(home / ".cache")}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "WANDB"))}
    words = [*FAST, "logger=wandb", "callbacks=default", "trainer=cpu", "data=image_folder", f"data.root={home / 'images'}"]
    words += ["data.image_size=16", "data.batch_size=8", f"run_dir={work / 'run'}"]
    for command in (["train", *words], ["report", str(work / "run")]):
        done = subprocess.run(
            [sys.executable, "-m", "regulo", *command], cwd=work, env=kept | planted, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert KEY not in done.stdout + done.stderr
    assert (work / "run" / "report.html").is_file()
    assert list((work / "run").glob("wandb/offline-run-*/run-*.wandb"))
    return work / "run"


def contents(file: Path) -> bytes:
    """All bytes of a file; of an archive, also those of its members; of a link, where it leads."""
    if file.is_symlink():
        return os.readlink(file).encode()
    packed = b""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            packed = b"".join(archive.read(name) for name in archive.namelist())
    return file.read_bytes() + packed


def telling(folder: Path, *secrets: str) -> list[str]:
    """The files in which, or in whose names, one of the secrets occurs."""
    files = [p for p in folder.rglob("*") if p.is_symlink() or p.is_file()]
    assert len(files) > 10
    return [
        f"{file.relative_to(folder)}: {s}" for file in files for s in secrets if s.encode() in contents(file) + file.name.encode()
    ]


def test_no_key_and_no_variable_is_in_a_run_folder(left: Path) -> None:
    assert telling(left, KEY, TOKEN, REMOTE) == []


def test_the_home_is_in_no_file_of_a_run(left: Path) -> None:
    assert telling(left, "planted-home", str(left)) == []


def test_the_machine_is_not_named(left: Path) -> None:
    """W&B's own file would hold command line, interpreter, host, git remote; plan.json says what matters of the machine."""
    wandb = next(left.glob("wandb/offline-run-*/run-*.wandb"))
    for word in (sys.executable, "example.org", "planted", "regulo.__main__", str(Path(sys.prefix))):
        assert word.encode() not in contents(wandb), word
    if len(HOST) > 6:
        assert HOST.encode() not in contents(wandb)
    assert not list(left.glob("wandb/**/logs/*"))


def test_data_in_the_home_are_kept_as_a_path_that_works_for_whoever_reads_it(left: Path) -> None:
    saved = (left / "config.yaml").read_text()
    assert "root: ~/images" in saved


def test_a_path_in_the_home_is_said_with_a_tilde_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "me"
    (home / "data").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    given = compose.load_config([f"data.root={home}/data", f"run_dir={home}", "model=torchvision", f"model.weights={home}/w.pth"])
    assert given.data.root == "~/data"
    assert given.run.run_dir == "~"
    assert given.model.weights == "~/w.pth"  # type: ignore[attr-defined]
    assert expand_path("~/data") == home / "data"
    assert compose.load_config([f"data.root={tmp_path}/meadow"]).data.root == f"{tmp_path}/meadow", (
        "another folder that begins alike"
    )
    assert redact_home(f"no room in '{home}/x', {home}: /mnt{home}/y") == f"no room in '~/x', ~: /mnt{home}/y"
    monkeypatch.setenv("HOME", "/")
    assert redact_home("/data") == "/data"
    assert expand_path("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")
