"""`make audit`: the locks hold, and where the advisory service does not answer, that is said."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def audit(root: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts" / "audit.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def test_every_locked_file_has_its_hash_and_the_set_up_requires_it() -> None:
    done = audit(ROOT, "--offline")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("locks/base.lock", "jinja2==", "jinja2>=", "does not name one version"),
        ("locks/base.lock", "--hash=sha256:", "--hash=md5:", "has no sha256"),
        ("locks/torch.lock", "torch==", "torch @ https://example.org/torch-", "points to an address"),
        ("scripts/setup.sh", "--require-hashes", "", "hashes"),
    ],
)
def test_a_lock_that_does_not_hold_is_named(file: str, old: str, new: str, said: str, tmp_path: Path) -> None:
    for folder in ("locks", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    done = audit(tmp_path, "--offline")
    assert done.returncode == 1
    assert said in done.stderr


def test_without_an_answer_nothing_is_claimed() -> None:
    done = audit(ROOT, HTTPS_PROXY="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9")
    assert done.returncode == 2
    assert "NOT known" in done.stderr
    assert "known vulnerabilities" not in done.stdout
