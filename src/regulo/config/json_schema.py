"""What every key means and allows, read off the classes: for `--help`, and as JSON Schema for editors."""

import json
from typing import Any

from regulo.config.schema import FIXED, MANY, NAMED, Run
from regulo.core import registry, yaml_files
from regulo.core.errors import Problem, Refused
from regulo.core.files import write
from regulo.core.paths import expanded
from regulo.core.registry import Strict

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def fields(cls: type[Strict]) -> dict[str, Any]:
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


def closed(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An object with these keys and no others; none is required, because every key has a default somewhere."""
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


def group(name: str) -> dict[str, Any]:
    """The JSON Schema of one config group."""
    if name in FIXED:
        return closed(fields(FIXED[name]))
    classes = {n: registry.load(name, n) for n in registry.names(name)}
    if name in MANY:
        return closed({n: closed(fields(cls), description=_summary(cls)) for n, cls in classes.items()})
    return {"oneOf": [closed({"name": {"const": n}, **fields(cls)}, description=_summary(cls)) for n, cls in classes.items()]}


def group_file(name: str) -> dict[str, Any]:
    """The JSON Schema of a YAML of this group, which may also set keys of the whole run (`# @package _global_`)."""
    return {"anyOf": [group(name), run()]} if name in NAMED else group(name)


def run() -> dict[str, Any]:
    """The JSON Schema of a whole run, as an experiment describes it."""
    groups = {name: group(name) for name in (*NAMED, *MANY, *FIXED)}
    return closed({"defaults": {"type": "array"}, **fields(Run), **groups})


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").splitlines()[0]


def schema(folder: str | None) -> int:
    """Write run.json and one file per group, for editors. Returns the exit code."""
    target = expanded(folder) if folder is not None else yaml_files.config_dir().parent / ".schema"
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, content in {"run": run(), **{g: group_file(g) for g in (*NAMED, *MANY, *FIXED)}}.items():
            write(target / f"{name}.json", json.dumps({"$schema": DRAFT, **content}, indent=1, ensure_ascii=False) + "\n")
    except (OSError, ValueError) as error:
        raise Refused(Problem("regulo schema", f"cannot write into {target}: {error}")) from error
    print(f"JSON Schema of the configuration: {target}")
    return 0
