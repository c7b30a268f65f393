"""The errors that end the program with a clear message, and the text of that message."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_LISTED = 20
"""problems of one kind that are listed, such as files that cannot be read"""


@dataclass(frozen=True)
class Problem:
    """One problem: `key` and `where` say where it is, `what` says what is wrong, `hint` names the nearest valid thing."""

    key: str
    what: str
    hint: str = ""
    where: str = ""

    def __str__(self) -> str:
        where = f", {self.where}" if self.where else ""
        hint = f" — {self.hint}" if self.hint else ""
        return one_line(f"{shorten(self.key.strip() or repr(self.key), 200)}: {shorten(self.what, 2000)}{where}{hint}")


def shorten(text: str, limit: int) -> str:
    """The text, or its beginning and its length if it is longer than the limit."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def quote(value: object) -> str:
    """A value of a configuration for a message, which is cut if it is long."""
    return shorten(repr(value), 100)


def one_line(text: str) -> str:
    """The text with control characters, such as line ends or ESC, written as escapes, so that a terminal only shows them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class InputError(Exception):
    """Invalid configuration or data. Raised before training starts; exit code 2."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems

    @classmethod
    def of_many(cls, problems: Sequence[Problem]) -> "InputError":
        """With the first `MAX_LISTED` problems, of one key, and the number of the others."""
        rest = len(problems) - MAX_LISTED
        return cls(*problems[:MAX_LISTED], *([Problem(problems[0].key, f"… and {rest:,} more")] if rest > 0 else []))


class RunError(Exception):
    """A failure of a run after it has started. Exit code 1."""


class NonFiniteLossError(RunError):
    """The loss is NaN or infinite. The same run would fail in the same way again, so it is not restarted."""


def exit_code(error: BaseException | None) -> int:
    """The exit code of a process that ends with this error; 0 for None."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(bool(error.code))
    codes = {type(None): 0, KeyboardInterrupt: 130, InputError: 2}
    return codes.get(type(error), 1)


def is_printable(name: str) -> bool:
    """Whether a name can be printed on one line: it has no control characters, and no bytes outside UTF-8."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


def visible_form(name: str) -> str:
    """What a person sees of a name: in one normal form of Unicode, without invisible characters, all spaces alike."""
    text = unicodedata.normalize("NFC", name)
    return " ".join("".join(letter for letter in text if unicodedata.category(letter) != "Cf").split())


def nearest(word: str, choices: Iterable[str], n: int = 3) -> str:
    """A hint with the choices nearest to `word`, or with all choices if none is near and there are at most 20."""
    choices = sorted(choices)
    similar = difflib.get_close_matches(word, choices, n=len(choices) or 1, cutoff=0.5)
    close = [
        ascii(choice) if choice != word and visible_form(choice) == visible_form(word) else choice
        for choice in similar
        if _is_misspelling(word, choice)
    ]
    if close:
        return "did you mean " + " or ".join(close[:n]) + "?"
    return "valid: " + ", ".join(choices) if len(choices) <= 20 else ""


def _is_misspelling(word: str, choice: str) -> bool:
    """Whether a word may stand for a choice: they hardly differ, or each part of the word is like a part of the choice.

    `accumulate_grad_batches` is not `limit_batches`, though they end alike: a wrong hint is worse than none.
    """
    if _similarity(word, choice) >= 0.75:
        return True
    parts, choice_parts = (re.findall(r"[^\W_]+", text) for text in (word, choice))
    return all(any(_similarity(part, other) >= 0.6 for other in choice_parts) for part in parts)


def _similarity(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, b, a).ratio()


class UnreadableImageError(Exception):
    """An image cannot be read during a run: it was damaged after the check at the start, or not checked. The message names it."""
