"""The meaning and the valid values of every key, read from the classes: for `--help`, and as JSON Schema for editors."""

import json
from typing import Any

from regulo.config.schema import MULTI, SECTIONS, SINGLE, RunConfig
from regulo.core import registry, yaml_files
from regulo.core.errors import InputError, Problem
from regulo.core.files import atomic_write
from regulo.core.paths import expand_path
from regulo.core.registry import StrictConfig

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def field_schemas(cls: type[StrictConfig]) -> dict[str, Any]:
    """The JSON Schema of an extension's fields, by name."""
    schema = cls.model_json_schema()
    return _inline_references(schema.get("properties", {}), schema.get("$defs", {}))


def _inline_references(node: Any, definitions: Any) -> Any:
    """The schema with every `$ref` replaced by its definition."""
    if isinstance(node, list):
        return [_inline_references(part, definitions) for part in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inline_references(definitions[node["$ref"].rpartition("/")[2]], definitions)
    return {key: _inline_references(part, definitions) for key, part in node.items()}


def closed_object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The JSON Schema of an object with these keys and no others. No key is required, because every key has a default."""
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


def group_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of one config group."""
    if name in SECTIONS:
        return closed_object(field_schemas(SECTIONS[name]))
    classes = {n: registry.get_plugin(name, n) for n in registry.list_plugins(name)}
    if name in MULTI:
        return closed_object({n: closed_object(field_schemas(cls), description=_summary(cls)) for n, cls in classes.items()})
    return {
        "oneOf": [
            closed_object({"name": {"const": n}, **field_schemas(cls)}, description=_summary(cls)) for n, cls in classes.items()
        ]
    }


def group_file_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a YAML file of this group, which may also set keys of the whole run (`# @package _global_`)."""
    return {"anyOf": [group_schema(name), run_schema()]} if name in SINGLE else group_schema(name)


def run_schema() -> dict[str, Any]:
    """The JSON Schema of a whole run, and of an experiment file."""
    groups = {name: group_schema(name) for name in (*SINGLE, *MULTI, *SECTIONS)}
    return closed_object({"defaults": {"type": "array"}, **field_schemas(RunConfig), **groups})


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").splitlines()[0]


def write_schemas(folder: str | None) -> int:
    """Write run.json and one file per group, for editors. Returns the exit code. Raises InputError if it cannot write."""
    target = expand_path(folder) if folder is not None else yaml_files.config_dir().parent / ".schema"
    schemas = {"run": run_schema(), **{group: group_file_schema(group) for group in (*SINGLE, *MULTI, *SECTIONS)}}
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, content in schemas.items():
            atomic_write(target / f"{name}.json", json.dumps({"$schema": DRAFT, **content}, indent=1, ensure_ascii=False) + "\n")
    except (OSError, ValueError) as error:
        raise InputError(Problem("regulo schema", f"cannot write into {target}: {error}")) from error
    print(f"JSON Schema of the configuration: {target}")
    return 0
