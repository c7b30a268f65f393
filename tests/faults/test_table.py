"""The page shows what the tests check."""

import re

from tests.faults.table import DOC, TESTS, list_faults, renew_table


def test_the_page_is_up_to_date() -> None:
    text = DOC.read_text(encoding="utf-8")
    assert text == renew_table(text), "renew it: python -m tests.faults.table"


def test_no_two_rows_are_the_same_fault() -> None:
    names = [mark.args[0] for _, mark in list_faults()]
    assert len(names) == len(set(names)) > 40


def test_every_test_that_the_page_names_exists() -> None:
    tests = re.findall(r"`(tests/[\w/.]+)::(\w+)", DOC.read_text(encoding="utf-8"))
    assert len(tests) > 40
    for file, name in tests:
        assert f"def {name}(" in (TESTS.parent / file).read_text(encoding="utf-8"), f"{file}::{name}"
