"""Which name stands where: `regulo` is a package, a command, a title or a variable, by the kind of file and what is around it.

In the code of Python, every name is the package. In text (strings, comments, YAML, Markdown, …) the first rule of `RULES` that
matches decides. A kind of file that is not in `KINDS` may not contain the name: a test goes through all files.
"""

import io
import itertools
import json
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from fork.names import UPSTREAM, Names

RULES = {
    "unchanged": [r"\.regulo\.json"],  # the file that says which version of Regulo a project was made from
    "title": ["Regulo"],  # a sentence about the project
    "variable": ["REGULO"],  # environment variables, variables of make
    "command": [
        r"(?<=bin/)regulo",
        r'(?<=ENTRYPOINT \[")regulo',
        r"regulo(?=\.fish)",  # fish looks for the completion of a command in a file of its name
        r'(?<=^name = ")regulo(?=")',  # the distribution
        r"^regulo(?= = )",  # the entry point
        r"regulo(?=\[)",  # an extra of the distribution
    ],
    "package": [
        r"""regulo(?=\.[a-z_{"'])""",  # a module, or the beginning of its name
        r"(?<=-m )regulo",
        r"(?<=import )regulo",
        r"(?<=from )regulo(?= import)",
        r"(?<=_)regulo|regulo(?=_)",  # a part of an identifier
        r"(?<=src/)regulo|regulo(?=/)",  # the folder
        r"""(?<=["'])regulo(?=["'])""",  # a string that is nothing else; the command is `PROGRAM`
        r"(?<=\{)regulo(?=[.:!}\[])",  # an expression inside an f-string
    ],
    "words": ["regulo"],  # everywhere else it is the command
}
"""kind of name → patterns, in the order in which they are tried; `words` are the command, too"""

PATTERN = re.compile("|".join(f"(?P<{kind}_{i}>{p})" for kind, ps in RULES.items() for i, p in enumerate(ps)), re.M)


def rename_text(text: str, names: Names) -> str:
    """Text with the names of the new project."""
    forms = {"title": names.title, "variable": names.variable, "package": names.package, "command": names.command}

    def replace(match: re.Match[str]) -> str:
        kind = str(match.lastgroup).partition("_")[0]
        return match[0] if kind == "unchanged" else forms.get(kind, names.command)

    return PATTERN.sub(replace, text)


def rename_python(text: str, names: Names) -> str:
    """Python code: a name is the package; strings and comments are text."""
    result, position = [], 0
    for is_name, start, end in _split_python(text):
        result += [
            text[position:start],
            text[start:end].replace(UPSTREAM, names.package) if is_name else rename_text(text[start:end], names),
        ]
        position = end
    return "".join([*result, text[position:]])


def _split_python(text: str) -> Iterator[tuple[bool, int, int]]:
    """(whether it is a name, start, end) of the names, strings and comments of Python code. An f-string is one string."""
    line_starts = [0, *itertools.accumulate(len(line) for line in io.StringIO(text))]
    depth, first = 0, 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        start, end = (line_starts[row - 1] + column for row, column in (token.start, token.end))
        kind = tokenize.tok_name[token.type]
        if kind == "FSTRING_START":  # from Python 3.12 on, f-strings are several tokens
            first = first if depth else start
            depth += 1
        elif kind == "FSTRING_END":
            depth -= 1
            if not depth:
                yield False, first, end
        elif not depth and kind in ("NAME", "STRING", "COMMENT"):
            yield kind == "NAME", start, end


def rename_markdown(text: str, names: Names) -> str:
    """Markdown: its blocks of Python are Python, all else is text."""
    parts = re.split(r"(?<=```python\n)(.*?)(?=^```)", text, flags=re.M | re.S)
    return "".join(rename_python(part, names) if i % 2 else rename_text(part, names) for i, part in enumerate(parts))


def rename_notebook(text: str, names: Names) -> str:
    """A notebook: each cell by its kind; what it printed is text."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        rename = rename_python if cell["cell_type"] == "code" else rename_markdown
        cell["source"] = rename("".join(cell["source"]), names).splitlines(keepends=True)
        if "outputs" in cell:
            cell["outputs"] = json.loads(rename_text(json.dumps(cell["outputs"], ensure_ascii=False), names))
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


KINDS: dict[str, Callable[[str, Names], str]] = {
    ".py": rename_python,
    ".md": rename_markdown,
    ".ipynb": rename_notebook,
    **dict.fromkeys((".yaml", ".yml", ".toml", ".sh", ".json", ".html", ".css", ".js", ".txt", ".rst", ".cfg"), rename_text),
    **dict.fromkeys(("Makefile", "Dockerfile", ".dockerignore", ".gitignore", "run"), rename_text),
}
"""suffix or name of a file → how it is renamed"""


def rename_path(path: str, names: Names) -> str:
    """A path below the root. The name in a folder or file is the package."""
    return path.replace(UPSTREAM, names.package)


def rename_content(path: str, content: bytes, names: Names) -> bytes:
    """The content of a file. One that holds the name and has no rule stays as it is; a test of the whole tree finds it."""
    file = PurePosixPath(path)
    rename = KINDS.get(file.suffix or file.name)
    if not rename or UPSTREAM.encode() not in content.lower():
        return content
    return rename(content.decode(), names).encode()
