"""What stops the program, said in one clear message."""

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: `key` and `where` say where, `what` says what, `hint` names the nearest right thing."""

    key: str
    what: str
    hint: str = ""
    where: str = ""

    def __str__(self) -> str:
        where = f", {self.where}" if self.where else ""
        hint = f" — {self.hint}" if self.hint else ""
        return one_line(f"{self.key.strip() or repr(self.key)}: {self.what}{where}{hint}")


def one_line(text: str) -> str:
    """The text with line ends and whatever else a terminal would obey, such as ESC, spelt out, so that it can only be read."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class InputError(Exception):
    """Configuration or data that cannot be trained on. Raised before training; exit code 2."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class RunError(Exception):
    """A run that started and could not go on. Exit code 1."""


class NonFiniteLossError(RunError):
    """The loss is no number any more. Nothing but the outside of a run can be mended: this one would do it again."""


def exit_code(error: BaseException | None) -> int:
    """The exit code of a process that ends with this error, or well without one."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(bool(error.code))
    known = {type(None): 0, KeyboardInterrupt: 130, InputError: 2}
    return known.get(type(error), 1)


def is_printable(name: str) -> bool:
    """Whether a name can be shown on one line: it has no control characters, and no bytes that are not UTF-8."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


def nearest(word: str, choices: Iterable[str], n: int = 3) -> str:
    """A hint that names the valid choices nearest to `word`, or all of them if none is near and they are few."""
    choices = sorted(choices)
    close = difflib.get_close_matches(word, choices, n=n, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    return "valid: " + ", ".join(choices) if len(choices) <= 20 else ""


class UnreadableImageError(Exception):
    """An image that was whole when the run began, or was not looked at, cannot be read. The message names it."""
