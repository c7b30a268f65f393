"""Remove from a module of Python what names something that is left out, and then what nothing uses any more."""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field

from fork.mentions import Mentions
from fork.names import UPSTREAM
from fork.source_edit import SourceEdit, is_docstring

LEAVES_FUNCTION = (ast.Return, ast.Raise, ast.Assert, ast.Yield)


@dataclass
class Pruned:
    """A module without what names something that is left out."""

    content: bytes
    names: set[str] = field(default_factory=set)
    """top-level names that it does not define any more"""
    fixtures: set[str] = field(default_factory=set)
    """those of them that are fixtures of pytest"""


def prune_module(content: bytes, module: str, mentions: Mentions, fixtures: Iterable[str], exports: Set[str]) -> Pruned:
    """Prune one module, which has this dotted name.

    `fixtures`: those that are gone; a test that takes one of them goes, too. `exports`: names that other modules may use.
    """
    result = Pruned(content)
    while True:  # what is defined further down may be needed further up
        pruner = _Pruner(result.content, module, mentions, {*fixtures, *result.fixtures})
        pruner.prune_body(ast.parse(result.content).body, set(result.names), top=True)
        if not pruner.edit.deletions:
            return result
        rest = _drop_unused(result.content, pruner.edit.apply(), exports)
        result = Pruned(rest, result.names | pruner.names, result.fixtures | pruner.fixtures_gone)


class _Pruner:
    def __init__(self, content: bytes, module: str, mentions: Mentions, fixtures: set[str]) -> None:
        self.edit, self.module, self.mentions = SourceEdit(content), module, mentions
        self.is_test = module.startswith("tests.")
        self.names: set[str] = set()
        self.fixtures, self.fixtures_gone = fixtures, set[str]()
        self.assigned: set[str] = set()
        """variables of the function at hand that have a value without what goes"""

    # ---- what names something

    def is_left_out(self, node: ast.AST, names: set[str]) -> bool:
        """Whether a node, or anything in it, names something that is left out, or one of these names."""
        return any(self._is_named(child, names) for child in self._walk(node))

    def _walk(self, node: ast.AST) -> Iterator[ast.AST]:
        yield node
        body = getattr(node, "body", None)
        docstring = body[0] if isinstance(body, list) and body and is_docstring(body[0]) else None
        for child in ast.iter_child_nodes(node):
            if child is not docstring and child not in self.edit.gone:
                yield from self._walk(child)

    def _is_named(self, node: ast.AST, names: set[str]) -> bool:
        if isinstance(node, ast.Name):
            return node.id in names
        if isinstance(node, ast.Attribute):
            return self.mentions.is_module(_dotted_name(node))
        if isinstance(node, ast.Import):
            return all(self.mentions.is_module(alias.name) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            return any(self.mentions.is_module(f"{node.module}.{alias.name}") for alias in node.names)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return (
                self.mentions.in_text(node.value) or self.mentions.is_word(node.value)
                if self.is_test
                else self.mentions.in_code(node.value)
            )
        if isinstance(node, ast.List | ast.Tuple) and node.elts:  # the words of a command line
            return self._is_command(node.elts[0])
        if isinstance(node, ast.Call) and self.is_test:  # a function that starts a command
            words = [getattr(argument, "value", None) for argument in node.args]
            return any(self._is_command(a) for i, a in enumerate(node.args) if i == 0 or words[i - 1] == UPSTREAM)
        if isinstance(node, ast.Subscript) and self.is_test:  # an entry of the table of commands
            return self._is_command(node.slice)
        if isinstance(node, ast.Compare):
            return any(self._is_command(n) for n in (node.left, *node.comparators))
        return False

    def _is_command(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Constant) and isinstance(node.value, str) and self.mentions.is_command(node.value)

    # ---- what goes

    def prune_body(self, body: Sequence[ast.stmt], names: set[str], top: bool = False) -> bool:
        """Prune statements that name something left out or one of `names`. Returns whether this leaves nothing to do."""
        for i, statement in enumerate(body):
            is_listed = top and self.mentions.is_module(f"{self.module}.{getattr(statement, 'name', '')}")
            if is_listed or (not is_docstring(statement) and self._prune_statement(statement, names, top)):
                self.edit.delete(statement)
                following = body[i + 1] if i + 1 < len(body) else None
                if following and is_docstring(following) and isinstance(statement, ast.Assign | ast.AnnAssign):
                    self.edit.delete(following)  # the docstring of a constant
                new = _defined_names(statement) - self.assigned  # a variable keeps the value that it had before
                names |= new
                if top:
                    self.names |= new
                    self.fixtures_gone |= new if _is_fixture(statement) else set()
            elif isinstance(statement, ast.Assign | ast.AnnAssign):
                self.assigned |= _defined_names(statement)
        return any(s in self.edit.gone for s in body) and all(s in self.edit.gone or is_docstring(s) for s in body)

    def _prune_statement(self, node: ast.stmt, names: set[str], top: bool) -> bool:
        """Prune inside a statement. Returns whether it has to go as a whole."""
        if isinstance(node, ast.Import | ast.ImportFrom):
            return self._prune_import(node, names)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return self._prune_function(node, names)
        if isinstance(node, ast.ClassDef):
            if any(self.is_left_out(n, names) for n in (*node.bases, *node.decorator_list)):
                return True
            return self.prune_body(node.body, set(names))
        if top and isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value:
            if not _is_command_line(node.value):
                self._prune_elements(node.value, names)
            return self.is_left_out(node, names)
        bodies = [getattr(node, name) for name in ("body", "orelse", "finalbody") if getattr(node, name, None)]
        if not bodies or isinstance(node, ast.Try):
            return not isinstance(node, ast.Try) and self.is_left_out(node, names)
        head = [getattr(node, name) for name in ("test", "iter", "subject") if hasattr(node, name)]
        head += [item.context_expr for item in getattr(node, "items", ())]
        if any(self.is_left_out(n, names) for n in head):
            return True
        empty = [self.prune_body(body, names) for body in bodies]  # all of them, whatever the first one is
        return all(empty)

    def _prune_import(self, node: ast.Import | ast.ImportFrom, names: set[str]) -> bool:
        module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        gone = [i for i, alias in enumerate(node.names) if self.mentions.is_module(module + alias.name)]
        names |= {_name_of(node.names[i]) for i in gone if module or node.names[i].asname}
        if len(gone) == len(node.names):
            return True
        self.edit.delete_elements([[alias] for alias in node.names], gone)
        return False

    def _prune_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, names: set[str]) -> bool:
        names = names - {argument.arg for argument in node.args.args}
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("parametrize"):
                self._prune_elements(decorator.args[1], names)
        if self.is_left_out(node.args, names) or any(self.is_left_out(d, names) for d in node.decorator_list):
            return True
        if self.is_test and _used_fixtures(node) & (self.fixtures | self.fixtures_gone):
            return True
        if self.is_test and not _is_fixture(node):
            return any(self.is_left_out(statement, names) for statement in node.body if not is_docstring(statement))
        outside, self.assigned = self.assigned, set()
        empty = self.prune_body(node.body, names)
        self.assigned = outside
        essential = (*LEAVES_FUNCTION, ast.Assign, ast.AnnAssign) if _is_fixture(node) else LEAVES_FUNCTION
        left = [child for child in ast.walk(node) if isinstance(child, essential) and child in self.edit.gone]
        if left and not self.is_test:
            raise ValueError(
                f"{node.name}: {ast.unparse(left[0])!r} names something that a form leaves out; say it in other words"
            )
        return bool(empty or left)

    def _prune_elements(self, node: ast.expr, names: set[str]) -> None:
        """Delete from the outermost collections of an expression the elements that name something that is left out."""
        if isinstance(node, ast.Dict):
            elements = [[key, value] if key else [value] for key, value in zip(node.keys, node.values, strict=True)]
        elif isinstance(node, ast.List | ast.Tuple | ast.Set):
            elements = [[element] for element in node.elts]
        else:
            elements = []
        gone = [i for i, e in enumerate(elements) if any(self.is_left_out(n, names) or self._is_command(n) for n in e)]
        if 0 < len(gone) < len(elements):
            self.edit.delete_elements(elements, gone, isinstance(node, ast.Tuple))
        if not elements and not isinstance(node, ast.Call):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self._prune_elements(child, names)


def _is_command_line(node: ast.expr) -> bool:
    """Whether a list holds the words of one command, which are of no use one by one: some are key=value."""
    words = [e.value for e in node.elts if isinstance(e, ast.Constant)] if isinstance(node, ast.List) else []
    return any(isinstance(word, str) and "=" in word for word in words)


def _dotted_name(node: ast.expr) -> str:
    """regulo.core.rng of such an attribute; "" of an attribute of anything but a name."""
    if isinstance(node, ast.Attribute):
        prefix = _dotted_name(node.value)
        return f"{prefix}.{node.attr}" if prefix else ""
    return node.id if isinstance(node, ast.Name) else ""


def _used_fixtures(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The fixtures that a test or a fixture takes as arguments, or names in `usefixtures`."""
    if not (node.name.startswith("test_") or _is_fixture(node)):
        return set()
    marks = [
        mark for mark in node.decorator_list if isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith("usefixtures")
    ]
    names = {str(name.value) for mark in marks for name in mark.args if isinstance(name, ast.Constant)}
    return names | {argument.arg for argument in node.args.args}


def _is_fixture(node: ast.stmt) -> bool:
    decorators = getattr(node, "decorator_list", ())
    return any(ast.unparse(decorator).partition("(")[0].endswith("pytest.fixture") for decorator in decorators)


def _defined_names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):  # `import a.b` leaves `a` as it is
        return {_name_of(alias) for alias in node.names if alias.asname or isinstance(node, ast.ImportFrom)}
    if not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return set()
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}


def _name_of(alias: ast.alias) -> str:
    """The name under which an import is used."""
    return alias.asname or alias.name.partition(".")[0]


def list_references(content: bytes) -> set[str]:
    """Names that a module imports from others, or may read as attributes of others."""
    text = content.decode()
    imports = re.findall(r"^\s*from \S+ import (\([^)]*\)|.*)", text, re.M)
    return {word for words in imports for word in re.findall(r"\w+", words)} | set(re.findall(r"\.(\w+)", text))


def _drop_unused(before: bytes, after: bytes, exports: Set[str]) -> bytes:
    """Delete what the module itself used before, and nothing uses any more: imports, helpers and constants."""
    used_before = _used_names(ast.parse(before))
    while True:
        edit, tree = SourceEdit(after), ast.parse(after)
        unused = used_before - _used_names(tree)
        for i, node in enumerate(tree.body):
            if isinstance(node, ast.Import | ast.ImportFrom):
                gone = [i for i, alias in enumerate(node.names) if _name_of(alias) in unused]
                if len(gone) == len(node.names):
                    edit.delete(node)
                else:
                    edit.delete_elements([[alias] for alias in node.names], gone)
            elif _defined_names(node) and _defined_names(node) <= unused - exports and not _is_fixture(node):
                edit.delete(node)
                if i + 1 < len(tree.body) and is_docstring(tree.body[i + 1]):
                    edit.delete(tree.body[i + 1])
        if not edit.deletions:
            return after
        after = edit.apply()


def _used_names(tree: ast.AST) -> set[str]:
    """A fixture is used by the name of an argument."""
    return {
        node.arg if isinstance(node, ast.arg) else node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    }
