"""What every key means and allows, read off the classes: for `--help`, and as JSON Schema for editors."""

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
    return _inlined(schema.get("properties", {}), schema.get("$defs", {}))


def _inlined(node: Any, definitions: Any) -> Any:
    """The schema with every reference replaced by what it refers to."""
    if isinstance(node, list):
        return [_inlined(part, definitions) for part in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(definitions[node["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(part, definitions) for key, part in node.items()}


def closed_object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An object with these keys and no others; none is required, because every key has a default somewhere."""
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
    """The JSON Schema of a YAML of this group, which may also set keys of the whole run (`# @package _global_`)."""
    return {"anyOf": [group_schema(name), run_schema()]} if name in SINGLE else group_schema(name)


def run_schema() -> dict[str, Any]:
    """The JSON Schema of a whole run, as an experiment describes it."""
    groups = {name: group_schema(name) for name in (*SINGLE, *MULTI, *SECTIONS)}
    return closed_object({"defaults": {"type": "array"}, **field_schemas(RunConfig), **groups})


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").splitlines()[0]


def write_schemas(folder: str | None) -> int:
    """Write run.json and one file per group, for editors. Returns the exit code."""
    target = expand_path(folder) if folder is not None else yaml_files.config_dir().parent / ".schema"
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, content in {"run": run_schema(), **{g: group_file_schema(g) for g in (*SINGLE, *MULTI, *SECTIONS)}}.items():
            atomic_write(target / f"{name}.json", json.dumps({"$schema": DRAFT, **content}, indent=1, ensure_ascii=False) + "\n")
    except (OSError, ValueError) as error:
        raise InputError(Problem("regulo schema", f"cannot write into {target}: {error}")) from error
    print(f"JSON Schema of the configuration: {target}")
    return 0
