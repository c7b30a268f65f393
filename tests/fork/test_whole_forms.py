"""Each form under an awkward name: its own lint, tests and training, with the packages of this environment."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.fork.conftest import commit_all, git

pytestmark = [pytest.mark.long, pytest.mark.timeout(7200)]


def make_environment(project: Path) -> None:
    """A .venv of the project that finds the packages of this Python, so that nothing is downloaded."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=project, check=True)
    scripts, packages = project / ".venv" / "bin", next((project / ".venv" / "lib").glob("*/site-packages"))
    ours = [folder for folder in sys.path if folder.endswith("site-packages")]
    (packages / "packages.pth").write_text("".join(f"import site; site.addsitedir({folder!r})\n" for folder in ours))
    for program in ("ruff", "mypy", "lint-imports", "wandb"):
        source = Path(sysconfig.get_path("scripts"), program)
        if source.read_bytes().startswith(b"#!"):
            (scripts / program).write_text(f"#!{scripts / 'python'}\n{source.read_text().partition(chr(10))[2]}")
            (scripts / program).chmod(0o755)
        else:
            shutil.copy(source, scripts)
    install = ["pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation", "--editable", "."]
    subprocess.run([Path(sysconfig.get_path("scripts"), "uv"), *install], cwd=project, env=environment(project), check=True)
    (project / ".venv" / ".ready").touch()


def environment(project: Path) -> dict[str, str]:
    ours = ("REGULO_", "PYTEST", "TORCH_BACKEND", "COVERAGE", "MAKE", "MFLAGS", "ARGS")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return clean | {"VIRTUAL_ENV": str(project / ".venv"), "PYTHONPATH": ""}


def make(project: Path, *words: str) -> str:
    process = subprocess.run(["make", *words], cwd=project, env=environment(project), capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout[-6000:] + process.stderr[-2000:]
    return process.stdout


@pytest.mark.parametrize(
    ("name", "form", "techniques"),
    [
        ("leaf disease", "full", ""),
        ("my.torch-project 2", "core", ""),
        ("Blätter", "minimal", ""),
        ("Oven", "minimal", "ema sam"),
    ],
)
def test_a_form_passes_its_own_lint_and_tests_and_trains(
    name: str, form: str, techniques: str, checkout: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    words = ["scripts/new.py", name, str(project), "--form", form, "--techniques", techniques, "--author", "Somebody"]
    subprocess.run([sys.executable, *words], cwd=checkout, check=True)
    make_environment(project)
    assert not git(project, "status", "--porcelain"), "the environment is ignored"
    make(project, "lint")
    make(project, "train", "ARGS=debug=fast run_dir=runs/first logger=csv")
    assert json.loads((project / "runs" / "first" / "result.json").read_text())["status"] == "done"
    assert "passed" in make(project, "test")


def test_a_later_version_of_regulo_is_taken_into_a_changed_project(checkout: Path, tmp_path: Path) -> None:
    upstream, project = tmp_path / "upstream", tmp_path / "project"
    git(tmp_path, "clone", "--quiet", str(checkout), str(upstream))
    subprocess.run([sys.executable, "scripts/new.py", "leaf disease", str(project), "--form", "core"], cwd=upstream, check=True)
    train = project / "configs" / "train.yaml"
    train.write_text(train.read_text().replace("seed: 0 ", "seed: 7 "))
    (project / "docs" / "safety.md").unlink()
    mine = project / "src" / "leaf_disease" / "regularizers" / "mine.py"
    mine.write_text('"""An extension."""\n')
    commit_all(project, "mine")
    file = upstream / "src" / "regulo" / "core" / "rng.py"
    file.write_text(file.read_text() + "\n# a later version of Regulo\n")
    git(upstream, "mv", "src/regulo/core/text.py", "src/regulo/core/texts.py")
    for path in [*upstream.glob("src/regulo/**/*.py"), *upstream.glob("tests/**/*.py")]:
        path.write_text(path.read_text().replace("regulo.core.text import", "regulo.core.texts import"))
    commit_all(upstream, "a later version")
    command = [sys.executable, "scripts/update.py", "--from", str(upstream)]
    process = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "# a later version of Leaf disease" in (project / "src" / "leaf_disease" / "core" / "rng.py").read_text()
    assert (project / "src" / "leaf_disease" / "core" / "texts.py").is_file()
    assert "seed: 7 " in train.read_text()
    assert mine.is_file()
    assert not (project / "docs" / "safety.md").exists()
    ruff = Path(sys.executable).with_name("ruff")
    subprocess.run([ruff, "check", "--no-cache", "."], cwd=project, check=True)
