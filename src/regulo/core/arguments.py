"""argparse with the messages of Regulo: what is wrong, and the nearest valid option."""

import argparse
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from regulo.core.errors import InputError, Problem, nearest
from regulo.core.text import terminal_width, wrap


class HelpFormatter(argparse.HelpFormatter):
    """Help text that fits the terminal and keeps the line breaks of descriptions."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=terminal_width())

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return wrap(text, width)


class ArgumentParser(argparse.ArgumentParser):
    """A parser that raises InputError for invalid arguments, and knows no abbreviations."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=HelpFormatter, allow_abbrev=False, **settings)
        self.color = False  # Python 3.14 would put escape sequences into messages

    def error(self, message: str) -> NoReturn:
        """Raise InputError with the usage as the hint."""
        raise InputError(Problem(self.prog, message, self.format_usage().strip()))

    def parse(self, arguments: Sequence[str]) -> dict[str, Any]:
        """The values by name; options may stand before, between and after positional arguments. Raises InputError."""
        self.check_options(itertools.takewhile(lambda word: word != "--", arguments))  # argparse takes "--x 3" for a path
        values, unknown = self.parse_known_intermixed_args(list(arguments))
        if unknown:
            raise InputError(Problem(self.prog, f"takes no {unknown[0]!r}", self.format_usage().strip()))
        return vars(values)

    def check_options(self, words: Iterable[str]) -> None:
        """Check that each word that begins with `--` is an option, given once; others are not checked. Raises InputError."""
        words = list(words)
        self._check_repeats(words)
        for word in words:
            name = word.partition("=")[0]
            if name.startswith("--") and name not in (
                *self.options(),
                "--multirun",
            ):  # an option of Hydra, which has its own hint
                hint = nearest(name, self.options())
                usage = self.format_usage().strip()
                raise InputError(Problem(word, f"is not an option of {self.prog}", hint if hint.startswith("did") else usage))

    def _check_repeats(self, words: Sequence[str]) -> None:
        """Raise InputError if an option is given more than once: argparse takes the last value without a word."""
        names = [word.partition("=")[0] for word in words]
        for option in self.options():
            if names.count(option) > 1:
                raise InputError(Problem(option, f"is given {names.count(option)} times", f"{self.prog} takes it once"))

    def options(self) -> list[str]:
        """The names of all options, such as `--help`."""
        return [name for action in self._actions for name in action.option_strings]


def split_option(arguments: Sequence[str], option: str) -> list[str]:
    """The arguments with `OPTION=value` as two words, as it stands after a space."""
    return [part for word in arguments for part in (word.split("=", 1) if word.startswith(f"{option}=") else [word])]


class Choice:
    """The type of an argument that allows only a few words."""

    def __init__(self, what: str, options: Sequence[str]) -> None:
        self.what = what
        self.options = options

    def __call__(self, text: str) -> str:
        """The text if it is one of the options. Raises InputError."""
        if text not in self.options:
            raise InputError(Problem(self.what, f"there is no {self.what.lstrip('-')} {text!r}", nearest(text, self.options)))
        return text
