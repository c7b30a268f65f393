"""Extensions: typed, frozen, strict classes that are discovered by the folder they lie in.

One file in one of the folders below, with one class in it, is one extension; its file name is its name in YAML and on the
command line. Modules named `base` and sub-packages are plumbing, not extensions.
"""

import importlib
import pkgutil
import unicodedata
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, field_validator

GROUPS = {
    "data": "regulo.data",
    "model": "regulo.models",
    "regularizer": "regulo.regularizers",
    "optim": "regulo.optim",
    "callbacks": "regulo.callbacks",
}


class Strict(BaseModel):
    """Fields are checked strictly, unknown ones are refused, and nothing changes after that."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*")
    @classmethod
    def _plain_text(cls, value: Any) -> Any:
        for text in _texts(value):
            if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
                raise ValueError(f"{ascii(text)[:60]} has a character that cannot be shown")
        return value


class Spec(Strict):
    """An extension. Its fields are its hyper-parameters, with their valid ranges: the class *is* the schema of its YAML."""

    source: ClassVar[str] = ""
    """Where it comes from: paper and equation, or the package that implements it."""

    @property
    def name(self) -> str:
        """The file's name, by which YAML and the command line know it."""
        return type(self).__module__.rpartition(".")[2]


def _texts(value: Any) -> list[str]:
    """All strings in a value."""
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []


def names(group: str) -> list[str]:
    """Names of all extensions in a group. Nothing is imported but the group's package."""
    package = importlib.import_module(GROUPS[group])
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.ispkg and m.name != "base")


def load(group: str, name: str) -> type[Any]:
    """The extension class `name` of a group. Only its own module is imported, so a refusal stays quick."""
    module = importlib.import_module(f"{GROUPS[group]}.{name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Spec) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must define exactly one Spec, and defines {len(found)}")
    return found[0]
