"""Extensions (plug-ins): typed, frozen, strict classes that are discovered by their folder.

One file with one class in one of the packages of `GROUPS`, or in a folder that `core.extensions` adds to one, is one extension.
Its file name is its name in YAML and on the command line. Modules named `base` or `_name`, and sub-packages, are not extensions.
"""

import importlib
import pkgutil
import unicodedata
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from regulo.core.class_fields import read_meanings
from regulo.core.errors import InputError, Problem
from regulo.core.extensions import extend_package
from regulo.core.nested import texts
from regulo.core.paths import redact_home

GROUPS = {
    "data": "regulo.data",
    "model": "regulo.models",
    "regularizer": "regulo.regularizers",
    "optim": "regulo.optim",
    "callbacks": "regulo.callbacks",
}
"""group of the configuration → package of its extensions"""


class StrictConfig(BaseModel):
    """A frozen schema: fields are checked strictly, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe each field by its docstring: only a schema needs them, and to read them takes time."""
        schema = handler(core_schema)
        meanings = read_meanings(cls)
        for name, field in handler.resolve_ref_schema(schema).get("properties", {}).items():
            if name in meanings:
                field.setdefault("description", meanings[name])
        return schema

    @field_validator("*", mode="before")
    @classmethod
    def _plain_text(cls, value: Any) -> Any:
        for _, text in texts(value):
            if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
                raise ValueError(f"{ascii(text)[:60]} has a character that cannot be shown")
        return value


class PluginConfig(StrictConfig):
    """An extension. Its fields are its hyperparameters with their valid ranges: the class is the schema of its YAML."""

    reference: ClassVar[str] = ""
    """The source: paper and equation, or the package that implements it."""

    @property
    def name(self) -> str:
        """The name of the module, which is its name in YAML and on the command line."""
        return type(self).__module__.rpartition(".")[2]


def list_plugins(group: str) -> list[str]:
    """The names of all extensions in a group. Only the package of the group is imported. Raises InputError."""
    return list_modules(GROUPS[group])


def get_plugin(group: str, name: str) -> type[Any]:
    """The extension class `name` of a group. Only its module is imported, which is fast. Raises TypeError without exactly one."""
    extend_package(GROUPS[group])
    module = f"{GROUPS[group]}.{name}"
    classes = classes_in(module, PluginConfig)
    if len(classes) != 1:
        raise TypeError(f"{module} must define exactly one PluginConfig, and defines {len(classes)}")
    return classes[0]


def list_modules(package: str) -> list[str]:
    """The sorted names of a package's modules, without `base`, `_names` and sub-packages. Only the package itself is imported.

    Raises InputError if a name exists twice, because of extensions outside Regulo.
    """
    folders: dict[str, str] = {}
    for folder in extend_package(package).__path__:
        for module in pkgutil.iter_modules([folder]):
            if module.ispkg or module.name.startswith("_"):
                continue
            if module.name in folders:
                what = f"{module.name} exists twice: in {folders[module.name]} and in {folder}"
                raise InputError(Problem("extensions", redact_home(what), "rename one of them"))
            folders[module.name] = folder
    return sorted(folders.keys() - {"base"})


def classes_in(module: str, base: type) -> list[type[Any]]:
    """The subclasses of `base` that a module defines itself, without imported ones."""
    members = vars(importlib.import_module(module)).values()
    return [m for m in members if isinstance(m, type) and issubclass(m, base) and m.__module__ == module]
