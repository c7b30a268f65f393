"""The pages are true: the README's commands are valid, the guide's examples run, generated parts are up to date."""

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from regulo.__main__ import build_commands, main
from regulo.analysis.claims.lab.command import discover_claims
from regulo.analysis.doctor.examination import rules
from regulo.config.compose import load_config
from regulo.core.errors import InputError
from regulo.core.program import PROGRAM
from regulo.tracking.run_dir import SPLITS
from tests import dry_commands
from tests.conftest import FinishedRun

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
from extensions.pages import fill as fill_page  # noqa: E402

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts),
]
EXAMPLES = ("pixel_noise", "study=noise", "extensions=")
"""what commands have that use the examples of extensions, which other tests add to a copy of the project and run"""
TARGETS = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
REFUSAL = r"```console\n\$ \.venv/bin/regulo (.*)\n((?:.*\n)+?)```"


FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+) -->\n+)?^(?P<fence>```+)(?P<language>\w*)\n(?P<text>.*?)^(?P=fence)$", re.M | re.S
)
COMMAND = re.compile(
    r"(?:[A-Z_]+=\S+ )?(?:(?P<make>make)|\S+ .*-m regulo|(?:\.venv/bin/)?" + PROGRAM + r")(?: (?P<arguments>.*))?"
)


def page_text(page: Path) -> str:
    """A page with the parts that are made from the code."""
    return str(fill_page(page.read_text(encoding="utf-8")))


def code_blocks(page: Path, *languages: str) -> list[str]:
    """The blocks of code of a page in these languages, but those that a comment before them excuses."""
    matches = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [match["text"] for match in matches if match["language"] in languages and not match["reason"]]


def page_commands(page: Path) -> list[str]:
    """The lines of the shell blocks of a page, and the commands of Regulo in its text."""
    blocks = "".join(code_blocks(page, "sh", "bash")).replace("\\\n", " ")
    lines = [re.sub(r'^eval "\$\((.*)\)"$', r"\1", line) for line in blocks.splitlines()]
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return lines + re.findall(r"`((?:make|(?:\.venv/bin/)?regulo) [^`]+)`", text)


def check_page_command(line: str) -> bool:
    """Whether a line is a command of Regulo. Raises InputError or AssertionError if it is, and is not valid."""
    match = COMMAND.fullmatch(re.sub(r"<[^>]*>", "placeholder", line.strip()))
    if not match or any(name in line for name in EXAMPLES):
        return False
    words = shlex.split(match["arguments"] or "--help", comments=True)
    if match["make"]:
        assert words[0] in TARGETS, f"make has no target {words[0]}"
        if words[0] not in build_commands():
            return True
        arguments = " ".join(word.removeprefix("ARGS=") for word in words[1:] if word.startswith("ARGS="))
        words = [words[0], *shlex.split(arguments)] if arguments else [words[0]]
        if len(words) == 1 and words[0] not in ("train", "ablate"):
            return True  # `make report` names the target
    if len(words) == 1 and line.startswith(PROGRAM):
        assert words[0] in ("--help", "--version") or words[0] in build_commands(), line
        return True  # `regulo report` names the command
    dry_commands.check_command_line([word for word in words if "…" not in word or "runs/" in word])
    return True


def run_python(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("REGULO_", "PYTEST"))} | variables
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.stem)
def test_every_command_of_the_pages_is_valid(page: Path) -> None:
    for line in page_commands(page):
        try:
            check_page_command(line)
        except (InputError, AssertionError) as error:
            pytest.fail(f"{page.name}: {line}\n{error}")


@pytest.mark.parametrize(
    "line",
    [
        "make nothing",
        "regulo nothing",
        "regulo evaluate --resume latest runs/a",
        'make train ARGS="optim.lr=abc"',
        ".venv/bin/regulo train model=absent",
        'make evaluate ARGS="runs/a --nothing"',
        'make ablate ARGS="study=absent"',
        ".venv/bin/torchrun --nnodes 2 -m regulo train trainer=absent",
    ],
)
def test_a_wrong_command_on_a_page_would_be_noticed(line: str) -> None:
    with pytest.raises((InputError, AssertionError)):
        check_page_command(line)


def test_every_claim_that_the_pages_name_exists() -> None:
    names = {name for page in PAGES for line in page_commands(page) for name in re.findall(r'^make claims ARGS="(\w+)"', line)}
    assert names
    assert names <= set(discover_claims())


@pytest.mark.parametrize("arguments", [["train", "--help", "mixup", "optim.lr"], ["completion", "bash"], ["list"]])
def test_the_commands_that_print_something_do(arguments: list[str]) -> None:
    assert any(f".venv/bin/regulo {' '.join(arguments)}" in page.read_text(encoding="utf-8") for page in PAGES)
    process = run_python("-m", "regulo", *arguments)
    assert process.returncode == 0
    assert process.stdout


REFUSALS = [(page, *match) for page in PAGES for match in re.findall(REFUSAL, page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "words", "message"), REFUSALS, ids=[page.stem for page, *_ in REFUSALS])
def test_a_refusal_on_a_page_is_what_the_terminal_shows(
    page: Path, words: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(words.split()) == 2
    assert capsys.readouterr().err == message


def test_every_refusal_of_the_pages_is_tested() -> None:
    assert len(REFUSALS) >= 2
    assert len(REFUSALS) == sum(page.read_text(encoding="utf-8").count("nothing was started\n  ") for page in PAGES)


def anchors(text: str) -> set[str]:
    """The anchors of the headings of a page, as GitHub and the site write them."""
    headings = re.findall(r"^#{1,4} (.+)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_links_and_pictures_of_the_pages_exist() -> None:
    texts = {page: page_text(page) for page in PAGES}
    for page, text in texts.items():
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", FENCE.sub("", text)):
            if "://" in target:
                continue
            root = ROOT / "docs" if target.startswith("/") else page.parent
            file = (root / target.lstrip("/")).resolve() if target else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                assert anchor in anchors(texts[file]), f"{page.name}: {target}#{anchor}"


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


@pytest.mark.parametrize("page", [page for page in PAGES if code_blocks(page, "python")], ids=lambda page: page.stem)
def test_python_on_the_pages_runs(page: Path, finished_run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished_run.folder, tmp_path / "runs" / "run")  # so that `latest` is a run
    Image.new("L", (28, 28)).save("photo.jpg")
    namespace: dict[str, object] = {"__name__": page.stem}
    for block in code_blocks(page, "python"):
        if not re.match(r"# \S+/\S+\.py\n", block):  # the file of an extension, which another test adds
            exec(compile(block, str(page), "exec"), namespace)


def test_the_reference_has_every_key_command_technique_and_metric() -> None:
    reference = {page.stem: page_text(page) for page in (ROOT / "docs" / "reference").glob("*.md")}
    config = load_config([])
    for group, part in config.as_dict().items():
        for key in part if isinstance(part, dict) and group not in ("regularizer", "callbacks") else ():
            assert key == "name" or f"`{group}.{key}`" in reference["keys"], f"{group}.{key}"
    for file in (ROOT / "src" / "regulo" / "regularizers").glob("*.py"):
        if file.stem not in ("base", "__init__"):
            assert f"\n## {file.stem}\n" in reference["techniques"]
    for file in (ROOT / "src" / "regulo" / "core" / "metrics").glob("*.py"):
        assert file.stem in ("base", "__init__") or f"| `{file.stem}` |" in reference["metrics"]
    for name, command in build_commands().items():
        section = reference["commands"].partition(f"\n## regulo {name}\n")[2].partition("\n## ")[0]
        assert all(option in section for option in command.parser.options() if option not in ("-h", "--help")), name
        assert section
    assert all(f"`make {target}`" in reference["commands"] for target in TARGETS)


def test_the_page_of_the_run_folder_has_every_file_column_and_key(finished_run: FinishedRun) -> None:
    text = page_text(ROOT / "docs" / "reference" / "run_folder.md")
    files = {file.relative_to(finished_run.folder).as_posix() for file in finished_run.folder.rglob("*") if file.is_file()}
    for file in files - {".lock"}:
        assert f"| `{file}` |" in text
    columns = (finished_run.folder / "metrics.csv").read_text().partition("\n")[0].split(",")
    for name in (*columns, *finished_run.result):
        assert f"`{name}`" in text or (name.startswith(SPLITS) and "/" in name), name


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


def test_the_page_of_the_doctor_has_every_rule() -> None:
    table = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8").partition("## The rules")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert rows == [f"| {(rule.__doc__ or '').rstrip('.')} | {rule.why} | {rule.reference} |" for rule in rules()]


def test_every_fault_of_the_page_has_the_tests_that_it_names() -> None:
    tests = {n for f in (ROOT / "tests").rglob("*.py") for n in re.findall(r"^def (test_\w+)", f.read_text(), re.M)}
    rows = re.findall(r"^\| (?!fault|---).*$", (ROOT / "docs" / "faults.md").read_text(), re.M)
    assert len(rows) >= 10
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
    assert len(blocks) >= 7
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
    assert "Cohen's kappa" in process.stdout
    result = json.loads((fork / "run" / "result.json").read_text())
    assert all(-1 <= result[f"{split}/kappa"] <= 1 for split in SPLITS)
    assert "val/kappa" in (fork / "run" / "metrics.csv").read_text().partition("\n")[0]
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
file.write_text(json.dumps({key: value for key, value in result.items() if "kappa" not in key}))
assert main(["report", "old"]) == 0
file.write_text(json.dumps(result | {"test/kappa": "high"}))
assert main(["report", "old"]) == 2
"""


def test_the_report_of_a_run_that_is_older_than_a_metric_leaves_it_empty(fork: Path) -> None:
    process = run_python("-c", OLDER_THAN_A_METRIC, cwd=fork, PYTHONPATH="src")
    assert process.returncode == 0, process.stderr
    page = (fork / "old" / "report.html").read_text()
    assert "Cohen's kappa" in page or "Cohen&#x27;s kappa" in page or "Cohen&#39;s kappa" in page
    assert ">–</td>" in page
    assert "test/kappa" in process.stderr


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
