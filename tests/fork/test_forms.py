"""What each form has, and that what is left fits together."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from fork.generate import Answers, Source, make_files
from fork.mentions import Mentions
from fork.parts import FORMS, MANIFEST, Omission, matches, part_of, split_form
from fork.prune import prune_makefile, prune_page
from fork.prune_python import prune_module

DEFAULTS = ("augment", "cutmix", "dropout", "early_stopping", "mixup", "weight_decay")


@pytest.fixture(scope="module", params=[pytest.param(f, marks=pytest.mark.long if f == "core" else ()) for f in FORMS])
def form(request: pytest.FixtureRequest, files: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
    """A form and its files. The minimal one has one technique more than the default ones."""
    techniques = ("label_smoothing",) if request.param == "minimal" else ()
    source = Source("9.9.9", "c" * 40, "", files, frozenset())
    return request.param, make_files(source, Answers("Oven", request.param, techniques, "Somebody", 2026))


def test_every_pattern_of_the_manifest_has_a_file(files: dict[str, bytes]) -> None:
    for part in MANIFEST["parts"].values():
        for pattern in (*part["files"], *part.get("keep", ())):
            assert any(matches(path, [pattern]) for path in files), pattern


def test_every_command_test_and_paragraph_of_the_manifest_is_there(files: dict[str, bytes]) -> None:
    pages = b"\n".join(content for path, content in files.items() if path.endswith(".md")).decode()
    for part in MANIFEST["parts"].values():
        for command in part.get("commands", ()):
            assert f'"{command}"' in files["src/regulo/__main__.py"].decode()
        for test in part.get("tests", ()):
            path, _, name = test.partition("::")
            assert f"def {name}(" in files[path].decode(), test
        for beginning in part.get("paragraphs", ()):
            assert re.search("^" + re.escape(beginning), pages, re.M), beginning


def test_a_new_file_belongs_to_the_core() -> None:
    assert part_of("src/regulo/core/anything_new.py") == "core"
    assert part_of("tests/test_anything_new.py") == "core"
    assert part_of("docs/a_new_page.md") == "core"


def test_a_form_imports_only_what_it_has(form: tuple[str, dict[str, bytes]]) -> None:
    _, files = form
    for path, content in files.items():
        for node in ast.walk(ast.parse(content)) if path.endswith(".py") else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("oven", "tests"):
                for alias in node.names:
                    assert is_defined(node.module or "", alias.name, files), f"{path}: {node.module}.{alias.name}"
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and path.startswith("src/"):
                for module, name in re.findall(r"\b(oven(?:\.\w+)+):(\w+)$", node.value):
                    assert is_defined(module, name, files), f"{path}: {node.value}"


def is_defined(module: str, name: str, files: dict[str, bytes]) -> bool:
    """Whether a module is there and says the name, or the name is a module in it."""
    folder = ("src/" if module.startswith("oven") else "") + module.replace(".", "/")
    if f"{folder}/{name}.py" in files or f"{folder}/{name}/__init__.py" in files:
        return True
    content = files.get(f"{folder}.py", files.get(f"{folder}/__init__.py", b""))
    return bool(re.search(rf"\b{name}\b", content.decode()))


def test_a_form_has_its_commands_targets_and_pages(form: tuple[str, dict[str, bytes]]) -> None:
    name, files = form
    left_out = {c for part, values in MANIFEST["parts"].items() if part not in FORMS[name] for c in values.get("commands", ())}
    makefile = files["Makefile"].decode()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    assert not targets & left_out
    assert {"train", "test", "lint", "update", "help"} <= targets
    assert set(re.findall(r"^\.PHONY: (.*)$", makefile, re.M)[0].split()) == targets
    text = files["src/oven/__main__.py"].decode()
    for command in {c for part in FORMS[name] for c in MANIFEST["parts"][part].get("commands", ())}:
        assert f'"{command}"' in text, "it stays with its part"
        assert command in targets
    for command in left_out:
        assert f'"{command}"' not in text
        assert f"make {command}" not in files["README.md"].decode()
    for script in re.findall(r"(scripts/[\w.]+)", makefile):
        assert script in files, script
    for path, content in files.items():
        if path.endswith(".md"):
            for target in re.findall(r"\]\(([^)#:]+)\)", content.decode()):
                linked = str((Path("/") / path).parent.joinpath(target).resolve().relative_to("/"))
                assert linked in files or any(other.startswith(linked + "/") for other in files), f"{path}: {target}"


def test_a_form_has_its_own_first_pages_and_says_where_it_comes_from(form: tuple[str, dict[str, bytes]]) -> None:
    _, files = form
    project = tomllib.loads(files["pyproject.toml"].decode())["project"]
    assert (project["name"], project["version"], project["scripts"]) == ("oven", "0.1.0", {"oven": "oven.__main__:start"})
    assert b"Copyright (c) 2026 Somebody" in files["LICENSE"]
    assert b"Copyright (c) 2026 The Regulo authors" in files["LICENSE"], "as the license demands"
    named = {path for path, content in files.items() if b"regulo" in content.lower()}
    assert named == {"README.md", "CHANGELOG.md", "LICENSE", "scripts/update.py"}
    assert "docs/claims.md" not in files, "what was measured with Regulo is no result of another project"


def test_the_minimal_form_has_what_is_named(files: dict[str, bytes]) -> None:
    omission = split_form(files, "minimal", DEFAULTS)
    left = {path for path in files if path not in omission.files}
    names = lambda folder: {Path(p).stem for p in left if re.fullmatch(rf"src/regulo/{folder}/\w+\.py", p)} - {"__init__", "base"}  # noqa: E731
    assert names("models") == {"resnet_small"}
    assert names("data") == {"fashion_mnist_mini", "image_folder"}
    assert names("regularizers") == set(DEFAULTS)
    assert not any(path.startswith("src/regulo/analysis/") for path in left)
    assert "src/regulo/regularizers/components/weight_averaging.py" not in left, "only what is left out imports it"
    assert "src/regulo/regularizers/components/beta_mixing.py" in left


def test_the_techniques_that_are_named_are_there_beside_the_default_ones(form: tuple[str, dict[str, bytes]]) -> None:
    name, files = form
    if name == "minimal":
        left = {Path(p).stem for p in files if re.fullmatch(r"src/oven/regularizers/\w+\.py", p)} - {"__init__", "base"}
        assert left == {*DEFAULTS, "label_smoothing"}
    assert f"  - regularizer: [{', '.join(DEFAULTS)}]\n" in files["configs/train.yaml"].decode()


def mentions(**fields: object) -> Mentions:
    empty = {
        "files": frozenset(),
        "modules": frozenset(),
        "commands": frozenset(),
        "options": frozenset(),
        "groups": frozenset(),
        "tests": frozenset(),
        "paragraphs": (),
    }
    return Mentions(Omission(**(empty | fields)))  # type: ignore[arg-type]


def pruned(code: str, is_test: bool = True, **fields: object) -> str:
    module = "tests.test_some" if is_test else "regulo.some"
    return prune_module(code.encode(), module, mentions(**fields), set(), set()).content.decode()


def test_a_test_that_names_something_left_out_goes_with_what_only_it_has_used() -> None:
    code = '''import math
import os

from regulo.analysis.claims import one
from regulo.core import rng, text

LIMIT = math.pi
"""of the test"""


def helper():
    return LIMIT


# about the test
@pytest.mark.long
def test_gone():
    assert one(helper(), text)


def test_stays():
    assert rng(os)
'''
    expected = "import os\n\nfrom regulo.core import rng\n\ndef test_stays():\n    assert rng(os)\n"
    assert re.sub("\n{3,}", "\n\n", pruned(code, modules=frozenset({"regulo.analysis.claims"}))) == expected


def test_elements_of_parameters_go_one_by_one() -> None:
    code = """\
X = ["sam", "ema", "mixup"]
@pytest.mark.parametrize("a", [("sam", 1), ("mixup", 2), ("regularizer=[mixup,sam]", 3)])
def test_a(a):
    pass
"""
    options = frozenset({("regularizer", "sam"), ("regularizer", "ema")})
    assert (
        pruned(code, options=options)
        == 'X = ["mixup"]\n@pytest.mark.parametrize("a", [("mixup", 2)])\ndef test_a(a):\n    pass\n'
    )


def test_a_tuple_of_one_is_still_a_tuple() -> None:
    code = 'X = ("mixup", "sam", "sam")\nY = ("sam", "mixup")\nZ = ("mixup", "sam",)\n'
    namespace: dict[str, object] = {}
    exec(pruned(code, options=frozenset({("regularizer", "sam")})), namespace)
    assert namespace["X"] == namespace["Y"] == namespace["Z"] == ("mixup",)


def test_the_words_of_a_command_go_together() -> None:
    code = """
OPTIONS = ["model=big", "model.width=4"]
PLAN = "[mixup,sam]"

def test_a():
    run(*OPTIONS)

def test_b():
    run(PLAN, below())

def test_c():
    assert below()

def below():
    return PLAN
"""
    options = frozenset({("model", "big"), ("regularizer", "sam")})
    assert not pruned(code, options=options).strip()


def test_a_statement_of_the_program_goes_and_what_depends_on_it() -> None:
    code = '''def build():
    """See `regulo claims`."""
    claims = command("claims", "regulo.analysis.claims:claims")
    claims.add_argument("name")
    hint = "plain"
    if word == "claims":
        hint = CLAIMS
    return hint
CLAIMS = "regulo claims"
'''
    expected = 'def build():\n    """See `regulo claims`."""\n    hint = "plain"\n    return hint\n'
    assert pruned(code, is_test=False, modules=frozenset({"regulo.analysis.claims"}), commands=frozenset({"claims"})) == expected


def test_a_fixture_that_goes_takes_its_tests_with_it() -> None:
    code = """
@pytest.fixture
def thing():
    return regulo.analysis.x.y

def test_a(thing):
    pass

def test_b():
    pass
"""
    assert pruned(code, modules=frozenset({"regulo.analysis"})).strip() == "def test_b():\n    pass"


def test_a_fixture_that_loses_a_value_goes_as_a_whole_and_a_test_that_uses_fixtures_is_none() -> None:
    code = """
@pytest.fixture
def folder(tmp_path):
    words = ["+regularizer=mixup"]
    train(tmp_path, words)
    return tmp_path

@pytest.mark.usefixtures("study")
def test_a():
    train("+regularizer=mixup")
    print(1)

@pytest.mark.usefixtures("study")
def test_b():
    pass
"""
    rest = pruned(code, options=frozenset({("regularizer", "mixup")})).strip()
    assert rest == '@pytest.mark.usefixtures("study")\ndef test_b():\n    pass'


def test_a_test_that_looks_up_a_command_goes_with_it() -> None:
    code = 'def test_a():\n    assert COMMANDS["doctor"]\n\ndef test_b():\n    assert COMMANDS["train"]\n'
    assert pruned(code, commands=frozenset({"doctor"})).strip() == 'def test_b():\n    assert COMMANDS["train"]'


def test_targets_sentences_rows_and_sections_go() -> None:
    left_out = mentions(commands=frozenset({"doctor"}), files=frozenset({"docs/cost.md", "scripts/cost.py"}))
    makefile = (
        ".PHONY: a doctor cost\na: ## a\n\t@x\n\ndoctor: ## b\n\t@$(REGULO) doctor\n\ncost: ## c\n\t@python scripts/cost.py\n"
    )
    assert prune_makefile(makefile, left_out) == ".PHONY: a\na: ## a\n\t@x\n"
    page = """# Title

Stays. See [cost](docs/cost.md) for more. Stays, too.

## Doctor

`regulo doctor` tells.

## Rest

- one, by `make doctor`
- two
- **Three.** all of it

| a | b |
|---|---|
| `cost.md` | x |
| y | z |

```sh
make doctor     # gone
make a
```
"""
    expected = """# Title

Stays. Stays, too.

## Rest

- two

| a | b |
|---|---|
| y | z |

```sh
make a
```
"""
    assert prune_page(page, left_out, ("- **Three",)) == expected


def test_sentences_about_a_topic_go_and_headings_stay() -> None:
    table = "| a |\n|---|\n"
    page = (
        f"# All studies\n\nA recipe is a file. A study has many runs: the study says so. It stays.\n\n{table}| studies |\n| b |\n"
    )
    expected = f"# All studies\n\nA recipe is a file. It stays.\n\n{table}| b |\n"
    assert prune_page(page, mentions(topics=(r"\b[Ss]tud(y|ies)\b",))) == expected


def test_a_file_is_no_key_of_a_group_that_is_left_out() -> None:
    left_out = mentions(groups=frozenset({"study"}))
    assert left_out.in_text("study.techniques=[mixup]")
    assert left_out.in_text("study=quick")
    assert not left_out.in_text("study.json")


def test_every_topic_of_the_manifest_is_on_a_page(files: dict[str, bytes]) -> None:
    pages = b"\n".join(content for path, content in files.items() if path.endswith(".md")).decode()
    for part in MANIFEST["parts"].values():
        for topic in part.get("topics", ()):
            assert re.search(topic, pages), topic
