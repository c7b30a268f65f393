"""What stops a command before it writes anything."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One problem: where it is, what is wrong, and what to do."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" — {self.hint}" if self.hint else "")


class RefusalError(Exception):
    """Invalid arguments or an unsuitable state of a folder. Nothing was written."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def print_refusal(program: str, problems: Sequence[Problem]) -> int:
    """Print all problems. Returns the exit code, 2."""
    n = len(problems)
    print(f"{program}: {n} problem{'s' * (n > 1)}, nothing was written", file=sys.stderr)
    for problem in problems:
        print("  " + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(problem)), file=sys.stderr)
    return 2
