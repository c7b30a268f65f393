"""Iteration over nested mappings, such as configurations."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def flatten(tree: Mapping[str, Any], is_value: Callable[[Mapping[str, Any]], bool] = lambda _: False) -> dict[str, Any]:
    """Dotted keys and their values. A mapping is a value if it is empty, or if `is_value` returns true (a ramp)."""
    pairs: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value and not is_value(value):
            pairs |= {f"{key}.{inner}": part for inner, part in flatten(value, is_value).items()}
        else:
            pairs[key] = value
    return pairs


def texts(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Pairs of a dotted key and a text, for every string in nested mappings and lists, and for every key of a mapping."""
    if isinstance(node, Mapping):
        for name, part in node.items():
            inner = f"{key}.{name}" if key else str(name)
            yield inner, str(name)
            yield from texts(part, inner)
    elif isinstance(node, list | tuple):
        for part in node:
            yield from texts(part, key)
    elif isinstance(node, str):
        yield key, node
