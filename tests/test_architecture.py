"""The house: imports go down only, siblings never meet, and what is heavy is imported late."""

import ast
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from regulo.config import schema
from regulo.core import registry, yaml_files

SOURCE = Path(registry.__file__).parent
SIBLINGS = {"data", "models", "regularizers", "optim", "callbacks"}
FLOOR = {
    "core",
    "batch",
    "draws",
    "errors",
    "spec",
    "sites",
    "imaging",
    "groups",
    "scores",
    "torchvision_transform",
    "ramps",
    "ranges",
    "cores",
    "replay",
    "optimizer_wrapper",
    "mixing",
    "boxes",
    "averaging",
    "home",
    "environment",
    "foreign",
}
"""what siblings may build on"""
EXTENSIONS = [(group, name) for group in registry.GROUPS for name in registry.list_plugins(group)]
HEAVY = {"lightning", "torchvision", "albumentations", "torchmetrics", "wandb", "matplotlib"}


def imported(file: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(file.read_text())
    guarded = {n for i in ast.walk(tree) if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.unparse(i.test) for n in ast.walk(i)}
    nodes = tree.body if top_level_only else [n for n in ast.walk(tree) if n not in guarded]
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    for n in nodes:
        if isinstance(n, ast.ImportFrom):
            names |= {n.module or ""} | {f"{n.module}.{a.name}" for a in n.names if n.module == "regulo"}
    return names


def test_siblings_import_only_their_own_folder_and_the_floor() -> None:
    for folder in SIBLINGS:
        for file in (SOURCE / folder).rglob("*.py"):
            ours = {m.split(".")[1] for m in imported(file) if m.startswith("regulo.") and ".components" not in m}
            assert ours <= FLOOR | {folder}, f"{file.relative_to(SOURCE)} imports {ours - FLOOR - {folder}}"


def test_the_floor_imports_only_the_floor() -> None:
    for name in FLOOR - {"core"}:
        ours = {m.split(".")[1] for m in imported(SOURCE / f"{name}.py") if m.startswith("regulo.")}
        assert ours <= FLOOR, name


@pytest.mark.parametrize(("group", "name"), EXTENSIONS)
def test_an_extension_imports_nothing_heavy_until_it_is_used(group: str, name: str) -> None:
    file = Path(SOURCE, *registry.GROUPS[group].split(".")[1:], f"{name}.py")
    assert not {m.split(".")[0] for m in imported(file, top_level_only=True)} & HEAVY


@pytest.mark.parametrize(("group", "name"), EXTENSIONS)
def test_an_extension_is_documented_and_has_a_yaml_of_its_name(group: str, name: str) -> None:
    cls = registry.get_plugin(group, name)
    assert cls.__doc__
    assert all(field.description for field in cls.model_fields.values()), "every field says what it means"
    if group == "callbacks":
        content = OmegaConf.load(yaml_files.config_dir() / "callbacks" / "default.yaml")
        assert name in content
    else:
        assert name in yaml_files.list_groups()[group]
        assert cls.reference, "an extension names its source"


def test_every_folder_of_configs_is_a_group() -> None:
    known = {*registry.GROUPS, *schema.SECTIONS, "experiment", "debug"}
    assert set(yaml_files.list_groups()) <= known
