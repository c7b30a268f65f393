"""What the documents promise is run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from regulo.__main__ import build_commands
from regulo.config import compose

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", README, re.S)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_every_override_in_the_readme_is_valid(tmp_path: Path) -> None:
    checked = 0
    for line in commands():
        found = re.match(r'(?:make train ARGS="(.*)"|(?:\.venv/bin/)?regulo train ?(.*))$', line)
        if found:
            overrides = [word.strip("'") for word in (found[1] or found[2] or "").split()]
            if {"--resume", "--help"} & set(overrides):
                continue
            compose.load_config([o for o in overrides if not o.startswith("-")])
            checked += 1
    assert checked >= 5


def test_every_make_target_and_command_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
    for line in commands():
        words = line.replace("TORCH_BACKEND=cpu ", "").split()
        if words[0] == "make":
            assert words[1] in targets, line
        elif words[0].endswith("regulo"):
            assert words[1] in build_commands(), line


def test_links_and_pictures_of_the_documents_exist() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_fault_of_the_page_has_the_tests_that_it_names() -> None:
    tests = {n for f in (ROOT / "tests").rglob("*.py") for n in re.findall(r"^def (test_\w+)", f.read_text(), re.M)}
    rows = re.findall(r"^\| (?!fault|---).*$", (ROOT / "docs" / "faults.md").read_text(), re.M)
    assert len(rows) >= 20
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named
        assert set(named) <= tests, row


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert {"help", "test", "test-long"} <= set(targets)
    for target in targets:
        assert f"make {target} " in shown


def test_the_locks_have_hashes_and_no_addresses() -> None:
    for lock in (ROOT / "locks").glob("*.lock"):
        text = lock.read_text()
        entries = re.findall(r"^[a-z0-9].*==", text, re.M)
        assert entries
        assert text.count("--hash=sha256:") >= len(entries)
        assert not re.search(r"https?:|--index|--find-links|file:", text)


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the three extensions and the study of CONTRIBUTING.md added, and nothing else edited."""
    copy = tmp_path_factory.mktemp("fork")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "configs", copy / "configs")
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    assert len(blocks) == 7
    for path, content in blocks:
        assert not (copy / path).exists()
        (copy / path).write_text(content)
    return copy


def python(fork: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("REGULO_", "PYTEST"))} | {"PYTHONPATH": "src"}
    return subprocess.run([sys.executable, *arguments], cwd=fork, env=environment, capture_output=True, text=True, check=False)


def test_the_extensions_of_the_contributing_guide_work_without_any_other_edit(fork: Path) -> None:
    overrides = ["model=linear", "data=noise", "regularizer=[pixel_noise,mixup]", "regularizer.pixel_noise.sigma=0.2"]
    done = python(fork, "-m", "regulo", "train", *overrides, "debug=fast", "logger=csv", "run_dir=run")
    assert done.returncode == 0, done.stderr
    assert "pixel_noise" in done.stdout
    helped = python(fork, "-m", "regulo", "train", "--help").stdout
    assert "regularizer.pixel_noise.sigma=0.1   number ≥ 0 and ≤ 1" in helped
    assert "model=linear" in helped


def test_a_study_of_new_extensions_needs_no_edit_of_the_study_code(fork: Path) -> None:
    short = ["study.seeds=1", "study.corruptions=false", "debug=fast", "data.num_workers=0"]
    done = python(fork, "-m", "regulo", "ablate", "study=noise", *short)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((fork / "runs" / "studies" / "noise" / "study.json").read_text())
    assert [cell["label"] for cell in found["cells"]] == ["base", "pixel_noise", "strong noise"]
    assert all(run["status"] == "done" for cell in found["cells"] for run in cell["runs"])


def test_the_contract_tests_pick_a_new_extension_up(fork: Path) -> None:
    done = python(fork, "-m", "pytest", "tests/regularizers/test_contract.py", "-k", "pixel_noise or linear")
    assert done.returncode == 0, done.stdout[-3000:]
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])  # type: ignore[index]
    assert passed > 15
