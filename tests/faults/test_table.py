"""The page says what the tests hold."""

import re

from tests.faults.table import DOC, TESTS, faults, renewed


def test_the_page_is_that_of_the_tests() -> None:
    text = DOC.read_text(encoding="utf-8")
    assert text == renewed(text), "renew it: python -m tests.faults.table"


def test_no_two_rows_are_the_same_fault() -> None:
    names = [mark.args[0] for _, mark in faults()]
    assert len(names) == len(set(names)) > 40


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/.]+)::(\w+)", DOC.read_text(encoding="utf-8"))
    assert len(named) > 40
    for file, name in named:
        assert f"def {name}(" in (TESTS.parent / file).read_text(encoding="utf-8"), f"{file}::{name}"
