"""`regulo COMMAND --help`: groups, options, and every field with its range and meaning, read off the classes."""

import importlib
import inspect
from typing import Any

from regulo import spec
from regulo.cli import COMMANDS
from regulo.config import FIXED, MANY, NAMED, companions, groups, load
from regulo.schema import fields
from regulo.spec import Strict

SYNTAX = """\
  group=option            choose a file of configs/: model=vit_tiny, trainer=ddp_cpu, experiment=…
  regularizer=[a,b]       exactly these; regularizer=none: none
  +regularizer=a          one more            ~regularizer.a   one less
  key=value               set a value: regularizer.mixup.alpha=0.4, optim.lr=0.05, seed=1
  key={start:a,end:b}     a ramp, where one is allowed: from a to b as the run goes on. Further keys: shape (linear, cosine,
                          steps), begin and until (shares of the run), steps (stairs of the shape steps)"""


def explain(command: str) -> str:
    """The help text of a command."""
    module, function, arguments, what = COMMANDS[command]
    lines = [f"usage: regulo {command} {arguments}", f"  {what}", ""]
    if command != "train":
        lines += [inspect.cleandoc(getattr(importlib.import_module(module), function).__doc__), ""]
    if command == "train":
        lines += ["overrides:", SYNTAX, "", "groups and their options:"]
        lines += [f"  {name:12} {', '.join(options)}" for name, options in groups().items()]
        lines += ["", "run:", *_fields(load([]).run, "")]
        for group in (*NAMED, *MANY, *FIXED):
            for name in [""] if group in FIXED else spec.names(group):
                part = _as_configured(group, name)
                key = f"{group}.{name}" if group in MANY else group
                title = key if group in MANY or not name else f"{group}={name}"
                lines += ["", f"{title}: {(part.__doc__ or '').splitlines()[0]}", *_fields(part, f"{key}.")]
    return "\n".join(lines)


def _as_configured(group: str, name: str) -> Strict:
    """The part of a run that its YAML makes, whose values may differ from the class's own defaults."""
    if group not in MANY:
        return getattr(load([f"{group}={name}"] if name else []), group)
    needed = companions(name) if group == "regularizer" else []
    own = [f"{group}=[{','.join([*needed, name])}]"] if name in groups()[group] else []
    return getattr(load(own), group)[name]


def _fields(part: Strict, prefix: str) -> list[str]:
    lines = []
    values = part.model_dump()
    for name, described in fields(type(part)).items():
        default = values[name]
        shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        lines.append(f"  {prefix}{name}={shown}   {allowed(described)}")
        meaning = " ".join(described.get("description", "").split())
        if meaning:
            lines.append(f"      {meaning}")
    return lines


def allowed(described: Any) -> str:
    """The values that a field's JSON Schema allows, in short."""
    if "anyOf" in described:
        return " or ".join(allowed(d) for d in described["anyOf"])
    if "const" in described:
        return str(described["const"])
    if "enum" in described:
        return ", ".join(map(str, described["enum"]))
    kind = "a ramp" if str(described.get("title", "")).startswith("Ramp") else described.get("type", "")
    low = next((f"{s} {described[k]}" for k, s in (("minimum", "≥"), ("exclusiveMinimum", ">")) if k in described), "")
    high = next((f"{s} {described[k]}" for k, s in (("maximum", "≤"), ("exclusiveMaximum", "<")) if k in described), "")
    return " ".join(filter(None, [kind, " and ".join(filter(None, [low, high]))]))
