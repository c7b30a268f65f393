"""Whether a text names something that is left out."""

import re
from pathlib import PurePosixPath

from fork.parts import Omission, dotted_test


class Mentions:
    """The names of what is left out, as they stand in code, in commands and in pages."""

    def __init__(self, omission: Omission) -> None:
        self.omission = omission
        self.modules = omission.modules | omission.tests
        """dotted names, which grow as the pruning goes on: what is removed from a file is left out for the others"""
        page = r"(docs/(\w+/)*|scripts/)?\w+\.(md|py|ipynb)"
        pages = [PurePosixPath(path) for path in omission.files if re.fullmatch(page, path)]
        figures = sorted(path.removeprefix("docs/") for path in omission.files if path.startswith("docs/figures/"))
        self._figure = _one_of([re.escape(figure) for figure in figures], r"\]\((?:\.\./)*(?:docs/)?(?:{})\)")
        names = [page.name for page in pages]
        self._file = _one_of([re.escape(n) for n in names], r"(?<![\w.-])(?:{})(?![\w-])")
        self._command = _one_of(sorted(omission.commands), r"(?:\bregulo|\bmake|\$\(REGULO\)) (?:{})\b")
        patterns = [_option_pattern(group, names) for group, names in _by_group(omission.options).items()]
        self._option = _one_of([*patterns, *(rf"\b{group}(?:=|\.(?!json\b))" for group in sorted(omission.groups))], "{}")
        self._topic = _one_of(list(omission.topics), "{}")
        self._words = {name for group, name in omission.options if group not in ("experiment", "study", "debug")}

    def may_be_in(self, content: bytes, fixtures: set[str]) -> bool:
        """Whether code can name anything that is left out: a quick look at its words, before it is parsed."""
        text = content.decode()
        words = set(re.findall(r"\w+", text))
        if words & fixtures or any(f'"{word}"' in text for word in self._words | self.omission.commands if word in words):
            return True
        return any(words.issuperset(module.split(".")[-2:]) for module in self.modules) or self.in_text(text)

    def in_text(self, text: str) -> bool:
        """Whether a sentence, a line or a string of a test names something that is left out."""
        return bool(
            self.in_code(text)
            or (self._file and self._file.search(text))
            or (self._figure and self._figure.search(text))
            or (self._option and self._option.search(text))
            or ("src/" in text and any(f"src/{name.replace('.', '/')}" in text for name in self.omission.modules))
            or any(self.is_module(dotted_test(test)) for test in re.findall(r"tests/\w[\w/]*\.py::\w+", text))
            or ("`test_" in text and not self.removed_tests().isdisjoint(re.findall(r"`(test_\w+)`", text)))
        )

    def in_prose(self, text: str) -> bool:
        """Whether a sentence, an item or a row of a page is about something that is left out."""
        return self.in_text(text) or bool(self._topic and self._topic.search(text))

    def is_page(self, line: str) -> bool:
        """Whether an entry of a list of pages, `page` or `Title <page>` below docs/, is a page that is left out."""
        page = re.sub(r".*<(.+)>$", r"\1", line)
        return not self.omission.files.isdisjoint({f"docs/{page}.md", f"docs/{page}.ipynb"})

    def removed_tests(self) -> set[str]:
        """The names of the tests that were removed so far."""
        return {name for _, _, name in (module.rpartition(".") for module in self.modules) if name.startswith("test_")}

    def in_code(self, text: str) -> bool:
        """Whether a string of the program names a command or a module that is left out. It may name files and options."""
        named_modules = re.findall(r"\bregulo(?:\.\w+)+", text)
        return bool(self._command and self._command.search(text)) or any(map(self.is_module, named_modules))

    def is_word(self, text: str) -> bool:
        """Whether a string as a whole is the name of an option that is left out."""
        return text.strip() in self._words

    def is_command(self, text: str) -> bool:
        """Whether a string as a whole is a command that is left out."""
        return text in self.omission.commands

    def is_module(self, name: str) -> bool:
        """Whether a dotted name is, or is inside, something that is left out."""
        parts = name.split(".")
        return any(".".join(parts[:n]) in self.modules for n in range(1, len(parts) + 1))


def _one_of(patterns: list[str], frame: str) -> re.Pattern[str] | None:
    return re.compile(frame.format("|".join(patterns))) if patterns else None


def _by_group(options: frozenset[tuple[str, str]]) -> dict[str, list[str]]:
    return {group: sorted(name for g, name in options if g == group) for group in sorted({group for group, _ in options})}


def _option_pattern(group: str, names: list[str]) -> str:
    """`regularizer=sam`, `+regularizer=[mixup,sam]`, `regularizer.sam.rho`, and a name in backticks or in a list of its own."""
    one = "|".join(names)
    code = rf"|`(?:{one})`|\[(?:\w+, ?)*(?:{one})(?:, ?\w+)*\]" if group not in ("experiment", "study", "debug") else ""
    return rf"\b{group}(?:=|\.|: )\[?(?:[\w ]+, ?)*(?:{one})\b{code}"
