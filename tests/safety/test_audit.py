"""`make audit`: it checks the locks, and reports that the advisory service does not answer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_audit(root: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts" / "audit.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def test_every_locked_file_has_its_hash_and_the_setup_requires_it() -> None:
    process = run_audit(ROOT, "--offline")
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("locks/base.lock", "jinja2==", "jinja2>=", "does not name one version"),
        ("locks/base.lock", "--hash=sha256:", "--hash=md5:", "has no sha256"),
        ("locks/torch.lock", "torch==", "torch @ https://example.org/torch-", "points to a URL"),
        ("scripts/setup.sh", "--require-hashes", "", "hashes"),
    ],
)
def test_a_wrong_lock_is_named(file: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    for folder in ("locks", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    process = run_audit(tmp_path, "--offline")
    assert process.returncode == 1
    assert message in process.stderr


def test_an_advisory_service_that_does_not_answer_is_reported() -> None:
    process = run_audit(ROOT, HTTPS_PROXY="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9")
    assert process.returncode == 2
    assert "NOT known" in process.stderr
    assert "known vulnerabilities" not in process.stdout
