"""Remove from the remaining files what names something that is left out.

The smallest unit that can go without changing the rest: of Python a test, an element of a list at the top of a module or of a
test's parameters, a statement of a helper; of a Makefile a target; of a page a sentence, a row, a line of code, a section.
"""

import re
from collections.abc import Iterator

from fork.mentions import Mentions
from fork.parts import Omission, module_name
from fork.prune_python import list_references, prune_module


def prune(files: dict[str, bytes], omission: Omission) -> dict[str, bytes]:
    """The files of a form without what names something that the form does not have."""
    mentions = Mentions(omission)
    result = files | _prune_modules({p: c for p, c in files.items() if p.endswith(".py")}, mentions)
    for path, content in result.items():
        if path.endswith(".md"):
            result[path] = prune_page(content.decode(), mentions, omission.paragraphs).encode()
        elif path == "Makefile":
            result[path] = prune_makefile(content.decode(), mentions).encode()
    return {path: content for path, content in result.items() if not (_is_test(path) and b"def test_" not in content)}


def _is_test(path: str) -> bool:
    return path.rpartition("/")[2].startswith("test_") and path.endswith(".py")


def _prune_modules(files: dict[str, bytes], mentions: Mentions) -> dict[str, bytes]:
    """Python files, again and again: what is removed from one of them is left out for the others."""
    result, fixtures = dict(files), set[str]()
    exports = set[str]().union(*map(list_references, files.values()))
    while True:
        size = len(mentions.modules) + len(fixtures)
        for path, content in result.items():
            if not mentions.may_be_in(content, fixtures):
                continue
            module = module_name(path) or path.removesuffix(".py").replace("/", ".")
            pruned = prune_module(content, module, mentions, fixtures, exports)
            result[path] = pruned.content
            mentions.modules |= {f"{module}.{name}" for name in pruned.names}
            fixtures |= pruned.fixtures
        if len(mentions.modules) + len(fixtures) == size:
            return result


def prune_makefile(text: str, mentions: Mentions) -> str:
    """A Makefile without the targets whose recipes name something that is left out."""
    blocks = text.split("\n\n")
    targets = {block: match[1] for block in blocks if (match := re.match(r"([a-z-]+):", block))}
    gone = {target for block, target in targets.items() if mentions.in_text(block.partition("\n")[2])}
    text = "\n\n".join(block for block in blocks if targets.get(block) not in gone).rstrip("\n") + "\n"
    return re.sub(r"^\.PHONY: .*$", lambda line: " ".join(w for w in line[0].split() if w not in gone), text, count=1, flags=re.M)


def prune_page(text: str, mentions: Mentions, beginnings: tuple[str, ...] = ()) -> str:
    """A page in Markdown without the sentences, rows and lines of code that name something that is left out.

    `beginnings`: those of sections and items of lists that are left out as a whole.
    """
    result: list[str] = []
    skipped_level = 0
    for block in _split_blocks(text):
        level = _heading_level(block)
        if skipped_level and not 0 < level <= skipped_level:
            continue
        skipped_level = level if level and _begins(block, beginnings) else 0
        while level and result and _heading_level(result[-1]) >= level and not _is_empty_section(text, result[-1]):
            result.pop()  # a heading goes with the last paragraph below it
        if pruned := "" if skipped_level else block if level else _prune_block(block, mentions, beginnings):
            result.append(pruned)
    return "\n\n".join(result) + "\n"


def _begins(text: str, beginnings: tuple[str, ...]) -> bool:
    return bool(beginnings) and text.startswith(beginnings)


def _split_blocks(text: str) -> Iterator[str]:
    """What blank lines separate; a block of code is one."""
    block: list[str] = []
    is_code = False
    for line in [*text.splitlines(), ""]:
        is_code ^= line.startswith("```")
        if line or is_code:
            block.append(line)
        elif block:
            yield "\n".join(block)
            block = []


def _heading_level(block: str) -> int:
    match = re.match(r"(#+) ", block)
    return len(match[1]) if match else 0


def _is_empty_section(text: str, heading: str) -> bool:
    """Whether a heading of the original page has nothing but headings below it."""
    return bool(re.search(re.escape(heading) + r"\n+#", text))


def _prune_block(block: str, mentions: Mentions, beginnings: tuple[str, ...]) -> str:
    if "```" in block:
        is_listed = mentions.is_page if block.startswith("```{toctree}") else mentions.in_text
        lines = [line for line in block.splitlines() if line.startswith(("```", "<!--")) or not is_listed(line)]
        return "\n".join(lines) if any(not line.startswith("```") for line in lines) else ""
    if any(line.startswith("|") for line in block.splitlines()):
        lines = [line for line in block.splitlines() if not line.startswith("|") or not mentions.in_prose(line)]
        return "\n".join(lines) if sum(line.startswith("|") for line in lines) > 2 else ""
    items = re.split(r"\n(?=(?:[-*]|\d+\.) )", block)
    return "\n".join(filter(None, (_prune_sentences(item, mentions) for item in items if not _begins(item, beginnings))))


def _prune_sentences(text: str, mentions: Mentions) -> str:
    marker, text = re.fullmatch(r"((?:(?:[-*]|\d+\.) )?)(.*)", text, re.S).groups()  # type: ignore[union-attr]
    sentences = re.split(r"(?<=[.!?])(?=\s+[^\sa-z])", text)
    rest = "".join(sentence for sentence in sentences if not mentions.in_prose(sentence)).strip()
    return marker + rest if rest else ""
