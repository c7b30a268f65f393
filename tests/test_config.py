import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from regulo.__main__ import main
from regulo.config import compose, validate
from regulo.config import schema as config_schema
from regulo.core import registry, yaml_files
from regulo.core.errors import InputError
from tests.conftest import compose_files


def problems(*overrides: str) -> list[str]:
    with pytest.raises(InputError) as refusal:
        compose.load_config(overrides)
    return [str(p) for p in refusal.value.problems]


@pytest.mark.parametrize(
    ("override", "key", "near"),
    [
        ("regularizer.mixup.alpa=0.3", "regularizer.mixup.alpa", "alpha"),
        ("optim.lr=abc", "optim.lr", "valid number"),
        ("regularizer=[mixupp]", "regularizer", "mixup"),
        ("model.depth=-1", "model.depth", "8"),
        ("model.depth=9", "model.depth", "8 and 14"),
        ("model.widht=3", "model.widht", "width"),
        ("model=resnet_smal", "model", "resnet_small"),
        ("sede=42", "sede", "seed"),
        ("trainer.precision=fp16", "trainer.precision", "16-mixed"),
        ("regularizer.mixupp.alpha=1", "regularizer.mixupp.alpha", "mixup"),
        ("regularizer.norm.kind=batch", "regularizer.norm", "+regularizer=norm"),
        ("~regularizer.mixupp", "~regularizer.mixupp", "mixup"),
        ("optim.lr=1,2", "optim.lr=1,2", "one"),
        ("lr", "lr", "key=value"),
        ("optim.lr=[", "optim.lr=[", "key=value"),
        ("data={a:1}", "data", "fashion_mnist"),
        ("seed.deep=1", "seed", "integer"),
        ("model.width=1.5", "model.width", "integer"),
        ("regularizer.augment.flip=1.5", "regularizer.augment.flip", "nearest: 1"),
        ("name=../../x", "name", "pattern"),
        ("name=${foo}", "name", "foo"),
        ("optim.lr=inf", "optim.lr", "finite"),
        ("model=null", "model", "cannot be left out"),
        ("~logger", "~logger", "cannot be left out — valid: auto, csv"),
        ("~model", "~model", "cannot be left out"),
        ("~optim.lr", "~optim.lr", "optim.lr=…"),
        ("~seed", "~seed", "seed=…"),
        ("~regularizer.mixup.alpha", "~regularizer.mixup.alpha", "cannot be removed"),
        ("regularizer.mixup=null", "regularizer.mixup", "~regularizer.mixup removes it"),
        ("data.root=", "data.root", "the path is empty"),
        ("run_dir=", "run_dir", "the path is empty"),
        ("logger.project=", "logger.project", "at least 1 character"),
    ],
)
def test_a_wrong_override_is_named_with_the_nearest_right_thing(override: str, key: str, near: str) -> None:
    messages = problems(override)
    assert any(p.startswith(f"{key}: ") and near in p for p in messages), messages


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["=${.lr}", "=${.lr}"], "''"),
        (["x=${.y}", "x.z=1"], "x.z"),
        (["optim.lr=" + "9" * 5000], "optim.lr"),
        ([""], "''"),
        (["~debug=" + "9" * 5000, "seed.deep=1"], "seed"),
        (["data.root=a\nb"], "data.root"),
    ],
)
def test_what_fuzzing_found_stays_refused(words: list[str], key: str) -> None:
    assert any(p.startswith(key) for p in problems(*words))


def test_several_problems_come_at_once() -> None:
    messages = problems("optim.lr=-1", "model.widht=3", "sead=1", "regularizer=[mixupp]", "trainer.devices=0")
    assert [f.split(":")[0] for f in sorted(messages)] == ["model.widht", "optim.lr", "regularizer", "sead", "trainer.devices"]


def test_a_misspelt_key_in_an_experiment_is_refused_with_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    shutil.copytree(yaml_files.config_dir(), tmp_path / "configs")
    (tmp_path / "configs/experiment").mkdir(exist_ok=True)
    (tmp_path / "configs/experiment/mine.yaml").write_text("# @package _global_\nsede: 42\noptim:\n  lr: 0\n")
    monkeypatch.setattr(yaml_files, "config_dir", lambda: tmp_path / "configs")
    messages = problems("experiment=mine")
    assert messages[0].startswith("sede: unknown key, in configs/experiment/mine.yaml")
    assert "seed" in messages[0]
    assert any(f.startswith("optim.lr: 0 should be greater than 0, in configs/experiment/mine.yaml") for f in messages)


def test_a_yaml_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    shutil.copytree(yaml_files.config_dir(), tmp_path / "configs")
    (tmp_path / "configs/experiment/mine.yaml").write_text("a: [1\nb: 2")
    monkeypatch.setattr(yaml_files, "config_dir", lambda: tmp_path / "configs")
    assert "mine.yaml" in problems("experiment=mine")[0]


def test_a_refusal_imports_nothing_heavy_is_quick_and_exits_with_2() -> None:
    code = (
        "import sys, time; from regulo.__main__ import main; rc = main(['train', 'regularizer.mixup.alpa=0.3', 'optim.lr=abc']); "
        "heavy = {'lightning', 'torchvision', 'albumentations', 'torchmetrics', 'wandb'} & set(sys.modules); "
        "print(heavy, time.process_time()); sys.exit(rc if not heavy else 99)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 2, process.stdout + process.stderr
    assert "regularizer.mixup.alpa" in process.stderr
    assert float(process.stdout.split()[-1]) < 8, "seconds of work; 2 on an idle machine"


def test_these_tests_compose_each_choice_of_options_once() -> None:
    """Or they take ten minutes more."""
    compose.load_config([])
    before = compose_files.cache_info()
    compose.load_config(["seed=1"])
    after = compose_files.cache_info()
    assert (after.hits, after.misses) == (before.hits + 1, before.misses)


def test_regularizers_are_chosen_added_taken_away_and_set() -> None:
    names = lambda *o: list(compose.load_config(o).regularizer)  # noqa: E731
    assert names("regularizer=[mixup,cutmix]") == ["mixup", "cutmix"]
    assert names("regularizer=mixup") == ["mixup"]
    assert names("regularizer=none") == names("regularizer=[]") == names("regularizer=null") == []
    assert "norm" in names("+regularizer=norm")
    assert set(names("+regularizer=[norm,label_smoothing]")) > {"norm", "label_smoothing", "mixup"}
    assert "mixup" not in names("~regularizer.mixup")
    assert compose.load_config(["regularizer.mixup.alpha=0.7"]).regularizer["mixup"].alpha == 0.7  # type: ignore[attr-defined]
    config = compose.load_config(["+regularizer=norm", "regularizer.norm.kind=group"])
    assert config.regularizer["norm"].kind == "group"  # type: ignore[attr-defined]


def test_a_model_may_choose_its_optimizer_and_the_command_line_has_the_last_word() -> None:
    assert compose.load_config(["model=vit_tiny"]).optim.name == "adamw"
    assert compose.load_config(["model=vit_tiny", "optim=sgd"]).optim.name == "sgd"
    assert compose.load_config(["model=vit_tiny", "trainer.max_epochs=3"]).trainer.max_epochs == 3


@pytest.mark.parametrize("overrides", [[], ["model=vit_tiny"], ["regularizer=none"], ["+regularizer=[norm,rand_augment]"]])
def test_a_config_survives_being_saved_and_read(overrides: list[str]) -> None:
    import yaml

    first = compose.load_config(overrides)
    again = validate.validate_config(yaml.safe_load(yaml.safe_dump(first.as_dict())))
    assert again == first


@pytest.mark.parametrize("group", ["trainer", "logger", "regularizer", "callbacks"])
@pytest.mark.parametrize("node", [[], "", 0, False])
def test_a_section_that_is_no_mapping_is_refused_even_if_it_is_empty(group: str, node: Any) -> None:
    with pytest.raises(InputError, match=f"^{group}"):
        validate.validate_config(compose.load_config([]).as_dict() | {group: node})


EVERY_OPTION = [(g, o) for g, options in yaml_files.list_groups().items() for o in options]


@pytest.mark.parametrize(("group", "option"), EVERY_OPTION)
def test_every_yaml_is_a_valid_run(group: str, option: str) -> None:
    requirements = (
        compose.required_techniques(option) if group == "regularizer" and option in registry.list_plugins(group) else []
    )
    compose.load_config([f"{group}=[{','.join([*requirements, option])}]" if requirements else f"{group}={option}"])


def list_bounds() -> list[Any]:
    """Every numeric bound of every extension and fixed section: (class, field, value on the wrong side)."""
    from regulo.config.json_schema import field_schemas

    classes = [registry.get_plugin(g, n) for g in registry.GROUPS for n in registry.list_plugins(g)] + [
        *config_schema.SECTIONS.values(),
        config_schema.RunConfig,
    ]
    parameters = []
    for cls in classes:
        for name, field_schema in field_schemas(cls).items():
            for d in field_schema.get("anyOf", [field_schema]):
                step = 1 if d.get("type") == "integer" else 1e-6
                for key, off in (("minimum", -step), ("maximum", step), ("exclusiveMinimum", 0), ("exclusiveMaximum", 0)):
                    if key in d:
                        value = d[key] + off
                        parameters.append(pytest.param(cls, name, value, id=f"{cls.__name__}.{name}={value}"))
    return parameters


@pytest.mark.parametrize(("cls", "field", "value"), list_bounds())
def test_ranges_are_refused_at_the_border(cls: Any, field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        cls.model_validate({field: value})


def test_json_schema_describes_every_technique(tmp_path: Path) -> None:
    import json

    assert main(["schema", str(tmp_path)]) == 0
    schema = json.loads((tmp_path / "run.json").read_text())
    assert set(schema["properties"]["regularizer"]["properties"]) == set(registry.list_plugins("regularizer"))
    assert schema["properties"]["regularizer"]["properties"]["dropout"]["properties"]["fc"]["anyOf"][0]["exclusiveMaximum"] == 1
    assert schema["additionalProperties"] is False


# ---- what a file or a word means


@pytest.fixture
def own_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A writable copy of configs/."""
    import shutil

    shutil.copytree(yaml_files.config_dir(), tmp_path / "configs")
    monkeypatch.setattr(yaml_files, "config_dir", lambda: tmp_path / "configs")
    return tmp_path / "configs"


def test_a_file_without_its_package_line_is_named(own_configs: Path) -> None:
    (own_configs / "experiment/mine.yaml").write_text("seed: 1\n")
    (own_configs / "model/vit_two.yaml").write_text("defaults:\n  - override /optim: adamw\nmodel:\n  name: vit_tiny\n")
    (own_configs / "model/vit_three.yaml").write_text("model:\n  name: vit_tiny\ntrainer:\n  max_epochs: 3\n")
    for choice in ("experiment=mine", "model=vit_two", "model=vit_three"):
        (message,) = problems(choice)
        assert message.startswith(f"configs/{choice.replace('=', '/')}.yaml: lacks its first line")
        assert message.endswith("write: # @package _global_")
    assert problems("experiment.x=1")[0].startswith("experiment: unknown key")


@pytest.mark.parametrize("text", ["2024", "1_1_1", "1e5", "true"])
def test_text_that_is_read_as_another_type_is_to_be_quoted(text: str, own_configs: Path) -> None:
    import shlex

    kind = "true or false" if text == "true" else "a number"
    (message,) = problems(f"name={text}")
    start = f"name: {text} should be" if text in ("2024", "1e5") else "name: "
    assert message.startswith(start.replace("1e5", "100000.0"))
    assert f"on the command line — {text} is read as {kind}: quote it, " in message
    (word,) = shlex.split(message.rpartition("quote it, ")[2])
    assert compose.load_config([word]).run.name == text
    file = own_configs / "experiment/mine.yaml"
    file.write_text(f"# @package _global_\nname: {text}\n")
    (message,) = problems("experiment=mine")
    assert message.endswith(f"in configs/experiment/mine.yaml — {text} is read as {kind}: quote it, '{text}'")
    file.write_text(f"# @package _global_\nname: {message.rpartition('quote it, ')[2]}\n")
    assert compose.load_config(["experiment=mine"]).run.name == text


def test_a_time_that_yaml_reads_as_a_number_is_to_be_quoted(own_configs: Path) -> None:
    (own_configs / "experiment/mine.yaml").write_text("# @package _global_\ntrainer:\n  max_time: 1:30:00\n")
    (message,) = problems("experiment=mine")
    assert message.startswith(
        "trainer.max_time: 5400 should be a valid string, in configs/experiment/mine.yaml — 1:30:00 is read"
    )


@pytest.mark.parametrize("text", ["1e-1", "1e5", "-1E+5", "1.5e3", "1_0e1", "1e", "e5", "0.1", "1:30:00", "2024-01-01", "1.e-3"])
def test_every_file_has_the_same_numbers(text: str) -> None:
    """Those that Hydra reads; and what Regulo writes is read back by both."""
    import io

    from omegaconf import OmegaConf

    from regulo.core.safe_io import dump_yaml, parse_yaml

    by_hydra = OmegaConf.load(io.StringIO(f"x: {text}")).x
    content = parse_yaml(f"x: {text}", lambda why: InputError())
    assert content == {"x": by_hydra}
    for value in (text, by_hydra):
        written = dump_yaml({"x": value})
        assert OmegaConf.load(io.StringIO(written)).x == value
        assert parse_yaml(written, lambda why: InputError()) == {"x": value}


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("trainer.accumulate_grad_batches", ""),
        ("trainer.max_steps", ""),
        ("trainer.limit_train_batches", "limit_batches"),
        ("trainer.epochs", "max_epochs"),
        ("trainer.lg_every_n_steps", "log_every_n_steps"),
        ("optim.lr_scheduler", "schedule"),
    ],
)
def test_a_hint_is_near_or_there_is_none(key: str, hint: str) -> None:
    (message,) = problems(f"{key}=2")
    assert ("did you mean" in message) is bool(hint)
    assert hint in message
