"""Run docs/lesson.ipynb and save its outputs in it: .venv/bin/python scripts/lesson.py (about three minutes on 2 cores).

Times, counters and versions are left out, so that the file changes only if something in it has changed.
"""

import hashlib
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "docs" / "lesson.ipynb"


def run(folder: Path = NOTEBOOK.parent) -> Any:
    """The notebook with new outputs; its working directory is `folder`. Raises CellExecutionError if a cell fails."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=None, kernel_name="python3", coalesce_streams=True, resources=where).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = None
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "code": code_id(notebook)}
    return notebook


def code_id(notebook: Any) -> str:
    """A checksum of the code, which says whether the outputs are of this code."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


if __name__ == "__main__":
    nbformat.write(run(), NOTEBOOK)
