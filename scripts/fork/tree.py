"""`python -m fork.tree RECORD DIR`: the project of this checkout with recorded answers, in an empty folder. An update calls it.

A later version of Regulo calls that of an earlier one, so its arguments stay as they are.
"""

import json
import sys
from pathlib import Path

from fork.generate import Answers, read_source, write_tree

CHECKOUT = Path(__file__).parents[2]


def main(record: str, folder: str) -> None:
    """Write the project; a note about it is printed."""
    answers = json.loads(Path(record).read_text(encoding="utf-8"))["answers"]
    answers["techniques"] = tuple(answers["techniques"])
    if note := write_tree(read_source(CHECKOUT), Answers(**answers), Path(folder)):
        print(f"update: {note}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
