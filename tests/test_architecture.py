"""The structure: what import-linter (`make lint`) does not check."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import regulo
from regulo.config import schema
from regulo.core import registry, yaml_files
from regulo.core.class_fields import read_meanings

SOURCE = Path(regulo.__file__).parent
EXTENSIONS = [(group, name) for group in registry.GROUPS for name in registry.list_plugins(group)]
METRICS = [("core.metrics", name) for name in registry.list_modules("regulo.core.metrics")]
HEAVY = {"lightning", "torchvision", "albumentations", "torchmetrics", "wandb", "matplotlib"}


def test_training_works_without_the_analysis(tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "src" / "regulo", ignore=shutil.ignore_patterns("analysis", "__pycache__"))
    shutil.copytree(yaml_files.config_dir(), tmp_path / "configs")
    words = ["train", "debug=fast", "logger=csv", "callbacks=none", "trainer=cpu", "run_dir=run"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
    command = [sys.executable, "-m", "regulo", *words]
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "done"


def top_level_imports(file: Path) -> set[str]:
    nodes = ast.parse(file.read_text()).body
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    return names | {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}


@pytest.mark.parametrize(("group", "name"), [*EXTENSIONS, *METRICS])
def test_an_extension_imports_nothing_heavy_until_it_is_used(group: str, name: str) -> None:
    package = registry.GROUPS.get(group, f"regulo.{group}")
    file = Path(SOURCE, *package.split(".")[1:], f"{name}.py")
    assert not {m.split(".")[0] for m in top_level_imports(file)} & HEAVY


@pytest.mark.parametrize(("group", "name"), EXTENSIONS)
def test_an_extension_is_documented_and_has_a_yaml_of_its_name(group: str, name: str) -> None:
    cls = registry.get_plugin(group, name)
    assert cls.__doc__
    assert read_meanings(cls).keys() >= cls.model_fields.keys(), "every field says what it means"
    if group == "callbacks":
        content = OmegaConf.load(yaml_files.config_dir() / "callbacks" / "default.yaml")
        assert name in content
    else:
        assert name in yaml_files.list_groups()[group]
        assert cls.reference, "an extension names its source"


def test_every_folder_of_configs_is_a_group() -> None:
    groups = {*registry.GROUPS, *schema.SECTIONS, "experiment", "debug"}
    assert set(yaml_files.list_groups()) <= groups
