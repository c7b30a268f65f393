"""`regulo train --help`: every key once, with what it allows, in as many columns as there are."""

import pytest

from regulo.__main__ import main
from regulo.config import compose, help, schema
from regulo.config.help import Field, Section, explain_keys, list_sections
from regulo.core import registry, yaml_files

SECTIONS = list(list_sections())


def test_help_lists_every_group_option_and_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: regulo train")
    assert "--resume RUN" in text
    for group, options in yaml_files.list_groups().items():
        assert f"  {group} " in text
        assert set(options) <= set(text.replace(",", " ").split())
    for group in registry.GROUPS:
        for name in registry.list_plugins(group):
            prefix = f"{group}.{name}" if group in schema.MULTI else group
            for field in registry.get_plugin(group, name).model_fields:
                assert f"  {prefix}.{field}=" in text, (group, name, field)
    assert "regularizer.mixup.alpha=0.2   number ≥ 0 or a ramp" in text
    assert "regularizer.mixup.p=0.5" in text, "as the YAML has it, not the class"


@pytest.mark.parametrize("width", [80, 120, 200])
def test_help_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["train", "--help"]) == 0
    long = [line for line in capsys.readouterr().out.splitlines() if len(line) > width]
    assert not long


def test_a_field_that_all_options_share_is_explained_once() -> None:
    text = explain_keys()
    for group in schema.SINGLE:
        first, *others = [section for section in SECTIONS if section.group == group]
        for name, field in first.fields.items():
            if all(section.fields.get(name) and section.fields[name].schema == field.schema for section in others):
                lines = [line for line in text.splitlines() if line.startswith(f"  {group}.{name}=") and "   " in line.strip()]
                assert len(lines) == 1, (group, name)
    assert text.count(schema.RunConfig.model_json_schema()["properties"]["seed"]["description"][:30]) == 1


def test_a_default_that_differs_from_the_shared_one_stands_with_its_option() -> None:
    def section(name: str, size: int, lr: float) -> Section:
        size_field = Field("data.size", size, {"type": "integer", "description": "images"})
        own = Field(f"data.{name}", lr, {"type": "number", "description": f"of {name}"})
        return Section("data", name, f"The set {name}", {"size": size_field, name: own})

    parts = help._explain_group([section("a", 128, 0.1), section("b", 64, 0.2), section("c", 128, 0.3)])
    assert parts == [
        "data: of every option\n  data.size=128   integer\n      images",
        "data=a: The set a\n  data.a=0.1   number\n      of a",
        "data=b: The set b\n  data.b=0.2   number\n      of b\n  data.size=64",
        "data=c: The set c\n  data.c=0.3   number\n      of c",
    ]


def test_defaults_are_those_that_a_run_with_the_option_gets() -> None:
    for section in SECTIONS:
        if section.group in schema.SINGLE:
            part = getattr(compose.load_config([f"{section.group}={section.name}"]), section.group)
            assert {n: f.value for n, f in section.fields.items()} == {n: getattr(part, n) for n in section.fields}, section.title


@pytest.mark.parametrize(
    ("topic", "inside", "outside"),
    [
        ("mixup", "regularizer.mixup.alpha=", "cutmix"),
        ("regularizer.mixup", "regularizer.mixup.alpha=", "cutmix"),
        ("data", "data=image_folder:", "optim.lr="),
        ("data=image_folder", "data.batch_size=64   integer", "data=cifar10"),
        ("optim.lr", "optim.lr=", "optim.momentum"),
        ("lr_base_batch", "optim.lr_base_batch=", "optim.momentum"),
        ("trainer", "trainer.max_epochs=28", "seed="),
        ("run", "seed=0", "trainer.max_epochs"),
    ],
)
def test_a_topic_narrows_the_help(topic: str, inside: str, outside: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help", topic]) == main(["help", "train", topic]) == 0
    text = capsys.readouterr().out
    assert text.count(inside) == 2
    assert outside not in text


def test_help_composes_the_configuration_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    join = compose.compose_groups
    monkeypatch.setattr(compose, "compose_groups", lambda choices: calls.append(choices) or join(choices))
    explain_keys()
    assert len(calls) == 1, "each takes a tenth of a second, and there are fifty options"
