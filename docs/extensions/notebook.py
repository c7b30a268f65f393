"""Shows Jupyter notebooks as pages: text, code, and the outputs that are saved in the file. Nothing is run."""

import json
from typing import Any

from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx


class NotebookParser(MystParser):
    """Parses a notebook as the Markdown page that shows it."""

    supported = ("ipynb",)

    def parse(self, inputstring: str, document: Any) -> None:
        """Parse the JSON of a notebook."""
        super().parse(to_markdown(json.loads(inputstring)), document)


def to_markdown(notebook: Any) -> str:
    """The page of a notebook (format 4)."""
    parts, heading = [], ""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            heading = next((line.lstrip("# ") for line in source.splitlines() if line.startswith("#")), heading)
        elif cell["cell_type"] == "code":
            parts.append(fence(source, "ipython"))
            parts += [show_output(output, heading) for output in cell["outputs"]]
    return "\n\n".join(parts) + "\n"


def show_output(output: Any, heading: str) -> str:
    """What a cell printed, drew or returned; a figure is described by its heading.

    Raises ValueError for an error: a page must not show a broken notebook.
    """
    if output["output_type"] == "error":
        raise ValueError(f"the notebook has a cell that failed: {output['ename']}: {output['evalue']}")
    if output["output_type"] == "stream":
        return fence("".join(output["text"]), "text")
    data = output["data"]
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        return f"![Figure: {heading}](data:image/png;base64,{picture})"
    return fence("".join(data["text/plain"]), "text")


def fence(text: str, language: str) -> str:
    """A block of code."""
    return f"````{language}\n{text.rstrip()}\n````"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the parser."""
    app.add_source_suffix(".ipynb", "ipynb")
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": True}
