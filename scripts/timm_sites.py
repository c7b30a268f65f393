"""Write which sites timm's families have into docs/timm.md: .venv/bin/python scripts/timm_sites.py [MODULE …]

Measures the smallest model of each module of timm that the page does not have yet, or of the modules that are named (about ten
minutes for all on 2 cores): at the smallest of a few image sizes that it takes.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import timm
import torch

from regulo.core.errors import InputError
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import KINDS, find_sites
from regulo.models.timm import Timm

PAGE = Path(__file__).parents[1] / "docs" / "timm.md"
BEGIN, END = "<!-- begin: python scripts/timm_sites.py -->\n", "<!-- end -->\n"
SIZES = (64, 96, 160, 224, 240, 256)
LARGE = ("large", "huge", "giant", "gigantic", "enormous", "so400")
"""words in the names of models that are not the smallest"""


class Row(NamedTuple):
    """A row of the table."""

    module: str
    architecture: str
    image_size: int
    sites: tuple[int, ...]
    """for each kind"""


def dataset_info(image_size: int) -> DatasetInfo:
    """Color images of five classes."""
    return DatasetInfo(3, image_size, image_size, tuple("abcde"), (0.5,) * 3, (0.2,) * 3)


def count_sites(architecture: str, image_size: int) -> tuple[int, ...]:
    """The number of sites of each kind. Raises InputError if the model does not take images of this size."""
    model = Timm(architecture=architecture).build(dataset_info(image_size))
    return tuple(len(find_sites(model, kind)) for kind in KINDS)


def smallest_model(module: str) -> str:
    """The architecture of a module with the fewest parameters."""
    names = timm.list_models(module=module)
    names = [name for name in names if not any(word in name for word in LARGE)] or names

    def size(name: str) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in timm.create_model(name).parameters())

    return min(names, key=size)


def measure(module: str) -> Row:
    """The row of a module. Raises InputError if its smallest model takes none of the sizes."""
    architecture, refusal = smallest_model(module), None
    for size in SIZES:
        try:
            return Row(module, architecture, size, count_sites(architecture, size))
        except InputError as error:
            refusal = error
    raise refusal or ValueError("no sizes")


def read_rows(page: str) -> dict[str, Row]:
    """The rows of the table on the page, by module."""
    lines = page.partition(BEGIN)[2].partition(END)[0].splitlines()[2:]
    cells = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    return {c[0]: Row(c[0], c[1], int(c[2]), tuple(int(n) if n != "–" else 0 for n in c[3:])) for c in cells}


def write_rows(page: str, rows: dict[str, Row]) -> str:
    """The page with these rows."""
    lines = [f"| module | smallest model | at | {' | '.join(KINDS)} |", "| --- | --- | ---: |" + " ---: |" * len(KINDS)]
    for _, row in sorted(rows.items()):
        counts = " | ".join(str(n) if n else "–" for n in row.sites)
        lines.append(f"| {row.module} | `{row.architecture}` | {row.image_size} | {counts} |")
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + "\n".join(lines) + "\n" + END + rest.partition(END)[2]


def main() -> None:
    """Measure, and write the page after each module."""
    rows = read_rows(PAGE.read_text(encoding="utf-8"))
    modules = timm.list_modules()
    for module in sys.argv[1:] or [module for module in modules if module not in rows]:
        rows[module] = measure(module)
        rows = {module: rows[module] for module in modules if module in rows}
        PAGE.write_text(write_rows(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
        print(rows[module], flush=True)


if __name__ == "__main__":
    main()
