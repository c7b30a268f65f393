"""`regulo list`, and the table of techniques in the documents."""

from pathlib import Path

import pytest

from regulo.__main__ import main
from regulo.config.catalog import COLUMNS, TESTS, formula_tests, markdown_table, rows, scaling
from regulo.core import registry
from regulo.regularizers.base import HOOKS, Regularizer

ROOT = Path(__file__).parents[1]
NAMES = registry.list_plugins("regularizer")
FORMULA_TESTS = formula_tests(TESTS)


@pytest.mark.parametrize("name", NAMES)
def test_every_technique_is_held_to_its_formula_by_a_test(name: str) -> None:
    assert FORMULA_TESTS.get(name), f'mark its test with @pytest.mark.formula("{name}")'


def test_every_mark_names_a_technique() -> None:
    assert set(FORMULA_TESTS) <= set(NAMES)


def test_marks_are_found_without_running_anything(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    text = 'raise SystemExit\n\n\n@pytest.mark.formula("one", "two")\n@pytest.mark.slow\ndef test_it():\n    pass\n'
    (tmp_path / "deeper" / "test_some.py").write_text(text)
    assert formula_tests(tmp_path) == {"one": ["test_it"], "two": ["test_it"]}
    assert formula_tests(tmp_path / "absent") == {}, "an installed package has no tests beside it"


@pytest.mark.parametrize("width", [80, 120, 200])
def test_list_fits_the_terminal_and_breaks_no_word(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == NAMES
    words_in_output = set(" ".join(lines).split())
    for name, hooks, what, strength, source, tests in rows():
        assert set(hooks.split(", ")) <= set(HOOKS)
        assert source
        words = f"{name} {what} hooks: {hooks}; strength: {strength} source: {source}; formula tests: {len(tests.split(', '))}"
        assert set(words.split()) <= words_in_output, name


def test_list_takes_nothing_but_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--markdwn"]) == 2
    assert "--markdown" in capsys.readouterr().err


def test_how_a_technique_scales_is_told() -> None:
    scalings = {
        name: scaling(registry.get_plugin("regularizer", name)()) for name in ("dropout", "early_stopping", "rand_augment")
    }
    assert scalings["dropout"] == "fc, conv, attention"
    assert scalings["early_stopping"] == "on or off"
    assert scalings["rand_augment"].startswith("The magnitude is multiplied")
    for name in NAMES:
        cls = registry.get_plugin("regularizer", name)
        assert cls.with_strength is Regularizer.with_strength or cls.with_strength.__doc__, (
            f"{name} scales in its own way, and says how"
        )


def test_markdown_is_a_table_whose_cells_hold_no_bars() -> None:
    lines = markdown_table([["x", "a|b", *["c"] * (len(COLUMNS) - 2)]]).splitlines()
    assert lines[1] == "|" + " --- |" * len(COLUMNS)
    assert lines[2].startswith("| `x` | a\\|b | c |")


def test_the_table_in_the_documents_is_what_list_prints(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "techniques.md").read_text(encoding="utf-8")
    table = text.partition("<!-- begin: regulo list --markdown -->\n")[2].partition("<!-- end -->")[0]
    assert main(["list", "--markdown"]) == 0
    assert table == capsys.readouterr().out, "put the output of `regulo list --markdown` between the marks"
