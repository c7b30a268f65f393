"""The whole tree is renamed by kind of file: nothing is left, and nothing is broken."""

import ast
import json
import tomllib

import pytest
import yaml
from fork.generate import RECORD
from fork.names import Names
from fork.parts import MANIFEST, matches, part_of
from fork.rename import KINDS, rename_content, rename_path, rename_python, rename_text

NAMES = Names("Leaf disease")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`regulo train --help`", "`leaf-disease train --help`"),
        ("regulo: 2 problems", "leaf-disease: 2 problems"),
        ("\\nregulo: all is well", "\\nleaf-disease: all is well"),
        (".venv/bin/regulo", ".venv/bin/leaf-disease"),
        ("python -m regulo train", "python -m leaf_disease train"),
        ("Regulo waits.", "Leaf disease waits."),
        ("REGULO_CI_LONG", "LEAF_DISEASE_CI_LONG"),
        ("src/regulo/core/rng.py", "src/leaf_disease/core/rng.py"),
        ("regulo.core.errors.InputError: no", "leaf_disease.core.errors.InputError: no"),
        ("from regulo import PROGRAM", "from leaf_disease import PROGRAM"),
        ("import regulo", "import leaf_disease"),
        ("pip install 'regulo[slurm]'", "pip install 'leaf-disease[slurm]'"),
        ('name = "regulo"', 'name = "leaf-disease"'),
        ('regulo = "regulo.__main__:start"', 'leaf-disease = "leaf_disease.__main__:start"'),
        ('root_package = "regulo"', 'root_package = "leaf_disease"'),
        ("complete -F _regulo regulo", "complete -F _leaf_disease leaf-disease"),
        ("function __regulo_candidates", "function __leaf_disease_candidates"),
        ("completions/regulo.fish", "completions/leaf-disease.fish"),
        ('startswith("regulo.")', 'startswith("leaf_disease.")'),
        ('ENTRYPOINT ["regulo"]', 'ENTRYPOINT ["leaf-disease"]'),
        ("That is done by regulo. It is quick.", "That is done by leaf-disease. It is quick."),
    ],
)
def test_what_is_around_the_name_decides(text: str, expected: str) -> None:
    assert rename_text(text, NAMES) == expected


def test_in_python_a_name_is_the_package_and_a_comment_is_text() -> None:
    code = (
        "import regulo  # regulo train\n"
        'x = regulo.load(f"{regulo.__version__} regulo train {a!r:>{regulo}}")\n'
        'def regulo(): "of Regulo"\n'
    )
    expected = (
        "import leaf_disease  # leaf-disease train\n"
        'x = leaf_disease.load(f"{leaf_disease.__version__} leaf-disease train {a!r:>{leaf_disease}}")\n'
        'def leaf_disease(): "of Leaf disease"\n'
    )
    assert rename_python(code, NAMES) == expected


def test_every_kind_of_file_that_says_the_name_has_a_rule_and_no_name_is_left(files: dict[str, bytes]) -> None:
    left = {}
    for path, content in files.items():
        if part_of(path) == "upstream" or matches(path, MANIFEST["unchanged"]):
            continue
        renamed = rename_content(path, content, NAMES)
        if b"regulo" in renamed.lower() or "regulo" in rename_path(path, NAMES).lower():
            left[path] = [line for line in renamed.decode(errors="replace").splitlines() if "regulo" in line.lower()][:3]
    assert not left, f"add the kind of file to KINDS ({', '.join(KINDS)}), or the file to the part `upstream`"


@pytest.mark.parametrize("title", ["My.torch-project 2", pytest.param("Blätter", marks=pytest.mark.long)])
def test_what_is_renamed_can_still_be_read(title: str, files: dict[str, bytes]) -> None:
    names = Names(title)
    for path, content in files.items():
        renamed = rename_content(path, content, names)
        if part_of(path) == "upstream" or renamed == content:
            continue
        if path.endswith(".py"):
            ast.parse(renamed)
        elif path.endswith(".toml"):
            tomllib.loads(renamed.decode())
        elif path.endswith(".json"):
            json.loads(renamed)
        elif path.endswith((".yaml", ".yml")):
            yaml.safe_load(renamed)


def test_only_the_name_changes(files: dict[str, bytes]) -> None:
    """Renamed to a name whose forms are all alike, every file is what replacing the three spellings gives."""
    names = Names("Oven")
    for path, content in files.items():
        if content.isascii() or path.endswith((".py", ".md")):
            expected = content.replace(b"regulo", b"oven").replace(b"Regulo", b"Oven").replace(b"REGULO", b"OVEN")
            expected = expected.replace(RECORD.replace("regulo", "oven").encode(), RECORD.encode())
            assert rename_content(path, content, names) in (expected, content), path


def test_a_notebook_is_renamed_by_its_cells() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["Regulo, with `regulo train`\n"]},
        {
            "cell_type": "code",
            "source": ["import regulo\n", "regulo.load('latest')  # regulo evaluate"],
            "outputs": [{"text": ["regulo: done"]}],
        },
    ]
    renamed = json.loads(rename_content("a.ipynb", json.dumps({"cells": cells}).encode(), NAMES))["cells"]
    assert renamed[0]["source"] == ["Leaf disease, with `leaf-disease train`\n"]
    assert renamed[1]["source"] == ["import leaf_disease\n", "leaf_disease.load('latest')  # leaf-disease evaluate"]
    assert renamed[1]["outputs"] == [{"text": ["leaf-disease: done"]}]
