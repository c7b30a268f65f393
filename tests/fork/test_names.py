"""Which names a project can have, and what follows from them."""

import pytest
from fork.names import Names, parse_name
from fork.problems import RefusalError

from tests.fork.conftest import ROOT


@pytest.mark.parametrize(
    ("name", "title", "package", "command", "variable"),
    [
        ("leaf disease", "Leaf disease", "leaf_disease", "leaf-disease", "LEAF_DISEASE"),
        ("my.torch-project 2", "My.torch-project 2", "my_torch_project_2", "my-torch-project-2", "MY_TORCH_PROJECT_2"),
        ("  Leaf   Disease ", "Leaf Disease", "leaf_disease", "leaf-disease", "LEAF_DISEASE"),
        ("Blätter", "Blätter", "blatter", "blatter", "BLATTER"),
        ("Großer Weißdorn", "Großer Weißdorn", "grosser_weissdorn", "grosser-weissdorn", "GROSSER_WEISSDORN"),
        ("cafe\N{COMBINING ACUTE ACCENT}", "Café", "cafe", "cafe", "CAFE"),
        ("CamelCase", "CamelCase", "camelcase", "camelcase", "CAMELCASE"),
        ("leaf__disease-", "Leaf__disease-", "leaf_disease", "leaf-disease", "LEAF_DISEASE"),
    ],
)
def test_a_name_has_a_form_for_each_kind_of_place(name: str, title: str, package: str, command: str, variable: str) -> None:
    names = parse_name(name, ROOT)
    assert (names.title, names.package, names.command, names.variable) == (title, package, command, variable)
    assert names.package.isidentifier()


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("", ["is empty"]),
        ("   ", ["is empty"]),
        ("data", ["a folder of this project"]),
        ("train", ["a make target"]),
        ("torch", ["a package that is imported here"]),
        ("Lightning", ["a package of an environment or of this machine"]),
        ("pydantic", ["a package of an environment or of this machine"]),
        ("hydra", ["a package that is imported here"]),
        ("test", ["a make target"]),
        ("json", ["a module of Python"]),
        ("class", ["a word of Python"]),
        ("match", ["a word of Python"]),
        ("Regulo", ["the project that this one is made from"]),
        ("configs", ["a folder of this project"]),
        ("models", ["a part of this project"]),
        ("2 leaves", ["begins with a digit"]),
        ("叶病", ["叶 病, which have no letter of a to z near them"]),
        ("a/b", ["has /"]),
        ("..", ["has no letter"]),
        ("x" * 41, ["is longer than 40 letters"]),
        ("leaf\n\x1b[0m", ["has \\x1b ["]),
        ("$(rm -rf ~); 'a'", ["has $ ' ( ) ; ~"]),
        ("3 叶;" + "x" * 40, ["has ;", "叶", "begins with a digit", "is longer than 40 letters"]),
    ],
)
def test_a_name_that_hurts_is_refused_with_every_reason_and_a_name_that_works(name: str, reasons: list[str]) -> None:
    with pytest.raises(RefusalError) as error:
        parse_name(name, ROOT)
    assert len(error.value.problems) == len(reasons)
    for problem, reason in zip(error.value.problems, reasons, strict=True):
        assert reason in problem.what
        suggestion = problem.hint.removeprefix("for example ").strip("'")
        assert parse_name(suggestion, ROOT), "the suggestion is not refused"


def test_every_locked_package_and_every_make_target_is_refused() -> None:
    for name in ("types-pyyaml", "pydantic_core", "setup", "import-linter"):
        with pytest.raises(RefusalError):
            parse_name(name, ROOT)


def test_names_are_valid_in_every_kind_of_place() -> None:
    names = Names("Leaf disease")
    assert names.package.isidentifier()
    assert names.variable.isidentifier()
    assert not set(names.command) - set("abcdefghijklmnopqrstuvwxyz0123456789-")
