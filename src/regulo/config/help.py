"""Every key of a run's configuration with its default, range and meaning, read from the classes and their YAML files."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from regulo.config.compose import load_config
from regulo.config.json_schema import field_schemas
from regulo.config.schema import MULTI, SECTIONS, SINGLE
from regulo.core import registry, yaml_files
from regulo.core.errors import InputError, Problem, nearest
from regulo.core.registry import StrictConfig
from regulo.core.text import definitions, wrap
from regulo.tracking.upgrade import renamed_key_hint

SYNTAX = """\
  group=option         choose a file of configs/: model=vit_tiny, trainer=ddp_cpu, experiment=…
  regularizer=[a,b]    exactly these techniques; regularizer=none: no technique
  +regularizer=a       one technique more
  ~regularizer.a       one technique less
  key=value            set a value: regularizer.mixup.alpha=0.4, optim.lr=0.05, seed=1
  key={start:a,end:b}  a ramp, where one is allowed: from a to b during the run. More keys: shape (linear, cosine, steps), \
begin and until (shares of the run), steps (number of steps of the shape steps)"""
TOPIC_HINT = "regulo train --help TOPIC … explains a group (data), an option or technique (mixup), or a key (optim.lr) only"


@dataclass(frozen=True)
class Field:
    """A key, its default and its JSON Schema."""

    key: str
    value: Any
    schema: Mapping[str, Any]

    def text(self, brief: bool = False) -> str:
        """Key, default and range, then the meaning in the lines after them; `brief`: key and default only."""
        line = f"  {self.key}={self.default}"
        if brief:
            return line
        return f"{line}   {describe_range(self.schema)}" + (f"\n      {self.meaning}" if self.meaning else "")

    @property
    def default(self) -> str:
        """The default as YAML writes it."""
        return "null" if self.value is None else str(self.value).lower() if isinstance(self.value, bool) else str(self.value)

    @property
    def meaning(self) -> str:
        """The description in one line; empty if there is none."""
        return " ".join(self.schema.get("description", "").split())


@dataclass(frozen=True)
class Section:
    """The fields of one class: an option of a group, a technique, or a section that every run has."""

    group: str
    name: str
    summary: str
    fields: Mapping[str, Field]

    @property
    def title(self) -> str:
        """The section as the command line writes it."""
        if not self.name:
            return self.group
        return f"{self.group}.{self.name}" if self.group in MULTI else f"{self.group}={self.name}"

    def text(self) -> str:
        """The summary and all fields."""
        return "\n".join([f"{self.title}: {self.summary}", *(field.text() for field in self.fields.values())])


def explain_keys(topics: Sequence[str] = ()) -> str:
    """The help text of all keys, or of those that match the topics. Raises InputError for a topic that matches none."""
    sections = list(list_sections())
    if topics:
        return wrap("\n\n".join(_explain(topic, sections) for topic in topics))
    parts = [f"overrides:\n{SYNTAX}", TOPIC_HINT]
    parts.append(
        "groups and their options:\n" + definitions((n, ", ".join(options)) for n, options in yaml_files.list_groups().items())
    )
    for group in ("run", *SINGLE, *MULTI, *SECTIONS):
        parts += _explain_group([section for section in sections if section.group == group])
    return wrap("\n\n".join(parts))


def _explain(topic: str, sections: Sequence[Section]) -> str:
    if group_sections := [section for section in sections if section.group == topic]:
        return "\n\n".join(_explain_group(group_sections))
    if matches := [section for section in sections if topic in (section.name, section.title)]:
        return "\n\n".join(section.text() for section in matches)
    fields = {field.key: field for section in sections for field in section.fields.values()}
    if lines := [field.text() for key, field in fields.items() if topic in (key, key.rpartition(".")[2])]:
        return "\n".join(lines)
    names = {name for section in sections for name in (section.group, section.name, *section.fields)} - {""}
    hint = renamed_key_hint(topic) or nearest(topic, {*names, *fields})
    raise InputError(Problem(topic, "is no group, option or key", hint))


def _explain_group(sections: Sequence[Section]) -> list[str]:
    """The fields that all options share, once; then the own fields and defaults of each option."""
    if len(sections) == 1:
        return [sections[0].text()]
    common_fields = _find_common_fields(sections)
    group = sections[0].group
    parts = (
        ["\n".join([f"{group}: of every option", *(field.text() for field in common_fields.values())])] if common_fields else []
    )
    for section in sections:
        own = [field.text() for name, field in section.fields.items() if name not in common_fields]
        differing = [field.text(brief=True) for name, field in section.fields.items() if _differs(field, common_fields.get(name))]
        parts.append("\n".join([f"{section.title}: {section.summary}", *own, *differing]))
    return parts


def _find_common_fields(sections: Sequence[Section]) -> dict[str, Field]:
    """The fields that have the same meaning and range in all sections, each with its most frequent default."""
    first, *others = sections
    result = {}
    for name, field in first.fields.items():
        if all(name in s.fields and _meaning(s.fields[name]) == _meaning(field) for s in others):
            values = Counter(repr(s.fields[name].value) for s in sections)
            most_frequent = values.most_common(1)[0][0]
            result[name] = next(s.fields[name] for s in sections if repr(s.fields[name].value) == most_frequent)
    return result


def _meaning(field: Field) -> tuple[str, dict[str, Any]]:
    return field.key, {key: value for key, value in field.schema.items() if key != "default"}


def _differs(field: Field, common_field: Field | None) -> bool:
    return common_field is not None and repr(field.value) != repr(common_field.value)


def list_sections() -> Iterator[Section]:
    """The sections of all classes, in the order of the help text."""
    default = load_config([])
    yield _section("run", "", default.run, "")
    for group in (*SINGLE, *MULTI):
        for name in registry.list_plugins(group):
            cls: type[StrictConfig] = registry.get_plugin(group, name)
            part = cls.model_construct(**(_defaults(cls) | _yaml_values(group, name)))
            yield _section(group, name, part, f"{group}.{name}." if group in MULTI else f"{group}.")
    for group in SECTIONS:
        yield _section(group, "", getattr(default, group), f"{group}.")


def _section(group: str, name: str, part: StrictConfig, prefix: str) -> Section:
    cls = type(part)
    summary = (cls.__doc__ or "").splitlines()[0]
    return Section(group, name, summary, {n: Field(prefix + n, getattr(part, n), s) for n, s in field_schemas(cls).items()})


def _defaults(cls: type[StrictConfig]) -> dict[str, Any]:
    return {name: field.get_default(call_default_factory=True) for name, field in cls.model_fields.items()}


def _yaml_values(group: str, name: str) -> dict[str, Any]:
    """The values that the YAML file of an extension sets; empty if it has no file. They may differ from the class's defaults."""
    file = yaml_files.find_option(group, name)
    content: Any = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    content = content.get(group, content)  # the file may set keys of the whole run: `# @package _global_`
    content = content.get(name) if group in MULTI else content
    return {key: value for key, value in (content or {}).items() if key not in ("name", "defaults")}


def describe_range(schema: Any) -> str:
    """The values that the JSON Schema of a field allows, in short: `number ≥ 0 or a ramp`."""
    if "anyOf" in schema:
        return " or ".join(describe_range(branch) for branch in schema["anyOf"])
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    kind = "a ramp" if str(schema.get("title", "")).startswith("Ramp") else schema.get("type", "")
    low = next((f"{sign} {schema[k]}" for k, sign in (("minimum", "≥"), ("exclusiveMinimum", ">")) if k in schema), "")
    high = next((f"{sign} {schema[k]}" for k, sign in (("maximum", "≤"), ("exclusiveMaximum", "<")) if k in schema), "")
    return " ".join(filter(None, [kind, " and ".join(filter(None, [low, high]))]))
