"""The pages are true: the README's commands are valid, the guide's examples run, generated parts are up to date."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from regulo.__main__ import build_commands
from regulo.analysis.ablation.study import parse_study_args
from regulo.config import compose
from regulo.tracking.run_dir import SPLITS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]


def readme_commands() -> list[str]:
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", README, re.S)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def run_python(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("REGULO_", "PYTEST"))} | variables
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_every_override_in_the_readme_is_valid() -> None:
    count = 0
    for line in readme_commands():
        match = re.match(r'(?:make (train|doctor|ablate)(?: ARGS="(.*)")?|(?:\.venv/bin/)?regulo (train) ?(.*))$', line)
        if not match:
            continue
        words = [word.strip("'") for word in (match[2] or match[4] or "").split()]
        if {"--resume", "--help"} & set(words) or any(word.startswith("runs/") for word in words):
            continue
        if match[1] == "ablate":
            parse_study_args(words)
        else:
            compose.load_config(words)
        count += 1
    assert count >= 20


def test_every_claim_that_the_readme_names_exists() -> None:
    names = re.findall(r'^make claims ARGS="(\w+)"', "\n".join(readme_commands()), re.M)
    assert names
    assert set(names) <= {path.stem for path in (ROOT / "src" / "regulo" / "analysis" / "claims").glob("*.py")}


def test_every_make_target_and_command_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
    for line in readme_commands():
        words = re.sub(r'^eval "\$\((.*)\)"$', r"\1", line).replace("TORCH_BACKEND=cpu ", "").split()
        if words[0] == "make":
            assert words[1] in targets, line
        elif words[0] == ".venv/bin/regulo":
            assert words[1] in build_commands(), line
        else:
            assert line == "git clone <your fork> regulo && cd regulo"


@pytest.mark.parametrize("arguments", [["train", "--help", "mixup", "optim.lr"], ["completion", "bash"], ["list"]])
def test_the_readmes_commands_that_print_something_do(arguments: list[str]) -> None:
    assert f".venv/bin/regulo {' '.join(arguments)}" in README
    process = run_python("-m", "regulo", *arguments)
    assert process.returncode == 0
    assert process.stdout


def test_the_readmes_refusal_is_what_the_terminal_shows() -> None:
    block = re.search(r"```console\n\$ \.venv/bin/regulo (.*)\n((?:.*\n)+?)```", README)
    assert block
    process = run_python("-m", "regulo", *block[1].split(), COLUMNS="200")
    assert process.returncode == 2
    assert process.stderr == block[2]


def test_links_and_pictures_of_the_pages_exist() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_files_that_the_pages_name_exist() -> None:
    for page in PAGES:
        text = page.read_text()
        names = re.findall(r"`((?:src|tests|scripts|configs|docs|locks)/[\w./-]+)`", text)
        if page.name == "design.md":
            names += [
                f"src/regulo/{name}"
                for name in re.findall(r"[`( ]((?:[a-z]+/)+\w+\.py)\b", text)
                if not name.startswith("scripts/")
            ]
        for name in names:
            if name != "configs/experiment/doctor.yaml":  # which `regulo doctor --fix` writes
                assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_the_tree_of_the_design_page_is_up_to_date() -> None:
    process = run_python("scripts/tree.py", "--check")
    assert process.returncode == 0, process.stderr


def test_the_readmes_table_is_what_its_script_writes() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "readme_numbers.py"))
    run = {"test/acc": 0.9, "test/loss": 0.3, "test/ece": 0.02, "gap/acc": 0.03}
    text = script["block"]({"default": [run] * 3, "none": [run] * 3})
    head, _, rest = README.partition(script["BEGIN"])
    table, end, _ = rest.partition(script["END"])
    assert head
    assert end
    assert "| `make train` | 90.00 ± 0.00 | 0.300 ± 0.000 | 0.020 ± 0.000 | 3.0 ± 0.0 |" in text
    assert re.sub(r"\d[\d.]*", "0", text.partition("\n\n")[0]) == re.sub(r"\d[\d.]*", "0", table.partition("\n\n")[0])


def test_every_fault_of_the_page_has_the_tests_that_it_names() -> None:
    tests = {n for f in (ROOT / "tests").rglob("*.py") for n in re.findall(r"^def (test_\w+)", f.read_text(), re.M)}
    rows = re.findall(r"^\| (?!fault|---).*$", (ROOT / "docs" / "faults.md").read_text(), re.M)
    assert len(rows) >= 20
    for row in rows:
        names = re.findall(r"`(test_\w+)`", row)
        assert names
        assert set(names) <= tests, row


def test_make_help_lists_every_target() -> None:
    output = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert {"help", "test", "test-long"} <= set(targets)
    for target in targets:
        assert f"make {target} " in output


def test_the_locks_have_hashes_and_no_addresses() -> None:
    for lock in (ROOT / "locks").glob("*.lock"):
        text = lock.read_text()
        entries = re.findall(r"^[a-z0-9].*==", text, re.M)
        assert entries
        assert text.count("--hash=sha256:") >= len(entries)
        assert not re.search(r"https?:|--index|--find-links|file:", text)


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the extensions and the study of CONTRIBUTING.md added, and nothing else edited."""
    copy = tmp_path_factory.mktemp("fork")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "configs", copy / "configs")
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    assert len(blocks) == 8
    for path, content in blocks:
        assert not (copy / path).exists()
        (copy / path).write_text(content)
    return copy


def test_the_extensions_of_the_contributing_guide_work_without_any_other_edit(fork: Path) -> None:
    overrides = ["model=linear", "data=noise", "regularizer=[pixel_noise,mixup]", "regularizer.pixel_noise.sigma=0.2"]
    train = ["-m", "regulo", "train"]
    process = run_python(*train, *overrides, "debug=fast", "logger=csv", "run_dir=run", cwd=fork, PYTHONPATH="src")
    assert process.returncode == 0, process.stderr
    assert "pixel_noise" in process.stdout
    assert "macro F1" in process.stdout
    result = json.loads((fork / "run" / "result.json").read_text())
    assert all(0 <= result[f"{split}/macro_f1"] <= 1 for split in SPLITS)
    assert "val/macro_f1" in (fork / "run" / "metrics.csv").read_text().partition("\n")[0]
    help_text = run_python(*train, "--help", cwd=fork, PYTHONPATH="src").stdout
    assert "regularizer.pixel_noise.sigma=0.1   number ≥ 0 and ≤ 1" in help_text
    assert "model=linear" in help_text


OLDER_THAN_A_METRIC = """
import json
from pathlib import Path
from regulo.__main__ import main

file = Path("old/result.json")
assert main("train model=linear data=noise regularizer=none debug=fast logger=csv run_dir=old".split()) == 0
result = json.loads(file.read_text())
file.write_text(json.dumps({key: value for key, value in result.items() if "macro_f1" not in key}))
assert main(["report", "old"]) == 0
file.write_text(json.dumps(result | {"test/macro_f1": "high"}))
assert main(["report", "old"]) == 2
"""


def test_the_report_of_a_run_that_is_older_than_a_metric_leaves_it_empty(fork: Path) -> None:
    process = run_python("-c", OLDER_THAN_A_METRIC, cwd=fork, PYTHONPATH="src")
    assert process.returncode == 0, process.stderr
    page = (fork / "old" / "report.html").read_text()
    assert "macro F1" in page
    assert ">–</td>" in page
    assert "test/macro_f1" in process.stderr


@pytest.mark.long
def test_a_study_of_new_extensions_needs_no_edit_of_the_study_code(fork: Path) -> None:
    short = ["study.seeds=1", "study.corruptions=false", "debug=fast", "data.num_workers=0"]
    process = run_python("-m", "regulo", "ablate", "study=noise", *short, cwd=fork, PYTHONPATH="src")
    assert process.returncode == 0, process.stdout + process.stderr
    study = json.loads((fork / "runs" / "studies" / "noise" / "study.json").read_text())
    assert [cell["label"] for cell in study["cells"]] == ["base", "pixel_noise", "strong noise"]
    assert all(run["status"] == "done" for cell in study["cells"] for run in cell["runs"])


@pytest.mark.long
def test_the_contract_tests_pick_a_new_extension_up(fork: Path) -> None:
    tests = ["tests/regularizers/test_contract.py", "-k", "pixel_noise or linear"]
    process = run_python("-m", "pytest", *tests, cwd=fork, PYTHONPATH="src")
    assert process.returncode == 0, process.stdout[-3000:]
    count = int(re.search(r"(\d+) passed", process.stdout)[1])  # type: ignore[index]
    assert count > 15
