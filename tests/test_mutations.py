"""The rows of scripts/mutate.py fit the code; that a test fails for each is shown by the script itself, in minutes."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MUTATIONS = runpy.run_path(str(ROOT / "scripts" / "mutate.py"))["MUTATIONS"]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.what for mutation in MUTATIONS])
def test_what_a_mutation_changes_is_there_once(mutation: tuple[str, str, str, str, str]) -> None:
    _, file, old, new, tests = mutation
    assert (ROOT / "src" / "regulo" / file).read_text(encoding="utf-8").count(old) == 1
    assert old != new
    assert (ROOT / "tests" / tests.split()[0]).is_file()
