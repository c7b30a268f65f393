"""Delete statements and elements from Python code, and leave the rest as it is written."""

import ast
from collections.abc import Sequence


class SourceEdit:
    """Deletions from a module, which are applied together."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.deletions: list[tuple[int, int]] = []
        """(start, end) in bytes"""
        self.commas: list[int] = []
        """where a comma is added"""
        self.gone: set[ast.AST] = set()
        """the deleted nodes, and all nodes in them"""
        self.lines = content.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))

    def apply(self) -> bytes:
        """The content without the deletions."""
        result, position = [], 0
        edits = [(start, end, b"") for start, end in self.deletions] + [(at, at, b",") for at in self.commas]
        for start, end, text in sorted(edits):
            result += [self.content[position : max(start, position)], text]
            position = max(position, end)
        return b"".join([*result, self.content[position:]])

    def delete(self, node: ast.stmt) -> None:
        """Delete a statement with its decorators, and the comment directly above it."""
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))]) - 1
        while first and self.lines[first - 1].lstrip().startswith(b"#"):
            first -= 1
        self.deletions.append((self.starts[first], self.starts[node.end_lineno or node.lineno]))
        self.gone |= set(ast.walk(node))

    def delete_elements(self, elements: Sequence[Sequence[ast.AST]], gone: Sequence[int], is_tuple: bool = False) -> None:
        """Delete elements of a collection by their indices, with the comma behind them, or before the last ones.

        An element is one node, or a key and a value. A tuple of one keeps its comma, or gets one.
        """
        rest = end = 0  # where the last element ends that stays, and where the last one ends
        for i, element in enumerate(elements):
            end = self._offset(element[-1].end_lineno, element[-1].end_col_offset)  # type: ignore[attr-defined]
            if i not in gone:
                rest = end
            elif set(range(i + 1, len(elements))) - set(gone):
                self.deletions.append((self._start(element), self._start(elements[i + 1])))
            else:
                self.deletions.append((rest, end))
        if is_tuple and len(gone) + 1 == len(elements) and not self.content[end:].lstrip().startswith(b","):
            self.commas.append(rest)
        self.gone |= {child for i in gone for node in elements[i] for child in ast.walk(node)}

    def _start(self, element: Sequence[ast.AST]) -> int:
        start = self._offset(element[0].lineno, element[0].col_offset)  # type: ignore[attr-defined]
        while self.content[start - 1 : start] == b"*":  # **a in a dict
            start -= 1
        return start

    def _offset(self, line: int, column: int) -> int:
        return self.starts[line - 1] + column


def is_docstring(node: ast.stmt) -> bool:
    """Whether a statement is nothing but a string."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
