"""The notebook of the lesson runs, its saved outputs are those of its code, and the site shows them."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "lesson.py"))
NOTEBOOK: dict[str, Any] = json.loads((ROOT / "docs" / "lesson.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]

sys.path.insert(0, str(ROOT / "docs"))
from extensions.notebook import to_markdown  # noqa: E402


def figures(cell: dict[str, Any]) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell["outputs"])


def test_the_cells_that_train_nothing_run(capsys: pytest.CaptureFixture[str]) -> None:
    plt.switch_backend("agg")
    namespace: dict[str, object] = {}
    try:
        for cell in CODE:
            if "trains" not in cell["metadata"].get("tags", []):
                before = set(plt.get_fignums())
                exec("".join(cell["source"]), namespace)
                assert len(set(plt.get_fignums()) - before) == figures(cell)
    finally:
        plt.close("all")
    assert "1,024 networks" in capsys.readouterr().out


def test_the_outputs_are_those_of_the_code() -> None:
    import nbformat

    notebook = nbformat.read(SCRIPT["NOTEBOOK"], as_version=4)
    assert notebook.metadata["code"] == SCRIPT["code_id"](notebook), "run scripts/lesson.py"
    assert not any(output["output_type"] == "error" for cell in CODE for output in cell["outputs"])
    assert sum(map(figures, CODE)) >= 9


def test_the_page_shows_text_code_and_outputs_and_refuses_an_error() -> None:
    page = to_markdown(NOTEBOOK)
    assert page.count("](data:image/png;base64,") == sum(map(figures, CODE))
    for cell in NOTEBOOK["cells"]:
        assert "".join(cell["source"]) in page
    broken = {"cell_type": "code", "source": ["1 / 0"], "outputs": [{"output_type": "error", "ename": "E", "evalue": "why"}]}
    with pytest.raises(ValueError, match="why"):
        to_markdown({"cells": [broken]})


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_whole_notebook_runs_and_draws_every_figure(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    notebook = SCRIPT["run"](tmp_path / "docs")
    for cell, saved in zip([c for c in notebook.cells if c.cell_type == "code"], CODE, strict=True):
        assert figures(cell) == figures(saved)
