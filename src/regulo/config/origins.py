"""Which file or override a value comes from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from regulo.config.schema import SINGLE
from regulo.core import yaml_files


class SavedOrigins:
    """All values come from the config.yaml of a run."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def describe(self, key: str) -> str:
        """Where the value of a key is set."""
        return f"in {self.file}"

    def quote_hint(self, key: str, value: bool | int | float) -> str:
        """What to write if the value of a key was meant as text, and YAML reads another type."""
        return f"quote it, '{value}'"


class ValueOrigins:
    """Finds the file or the override that sets a key, for error messages."""

    def __init__(self, arguments: Sequence[str], tree: Mapping[str, Any]) -> None:
        self.arguments = [a.lstrip("+~") for a in arguments]
        options = {group: node.get("name") for group in SINGLE if isinstance(node := tree.get(group), Mapping)}
        options |= dict(a.split("=", 1) for a in self.arguments if "=" in a)
        groups = yaml_files.list_groups()
        candidates = [(group, options.get(group)) for group in ("experiment", "debug", *SINGLE)]
        self.files = [
            yaml_files.find_option(group, str(option)) for group, option in candidates if option in groups.get(group, ())
        ]
        self.files.append(yaml_files.config_dir() / "train.yaml")

    def quote_hint(self, key: str, value: bool | int | float) -> str:
        """What to write if the value of a key was meant as text, and YAML reads another type."""
        kind = "true or false" if isinstance(value, bool) else "a number"
        for argument in self.arguments:
            name, _, text = argument.partition("=")
            if name == key:
                return f"""{text} is read as {kind}: quote it, {key}="'{text}'\""""
        text = self._text(key) or str(value)
        return f"{text} is read as {kind}: quote it, '{text}'"

    def describe(self, key: str) -> str:
        """Where the value of a key is set, such as "on the command line"; empty if this is not known."""
        if key in (argument.split("=", 1)[0] for argument in self.arguments):
            return "on the command line"
        file, _ = self._find(key)
        return f"in {yaml_files.display_name(file)}" if file else ""

    def _find(self, key: str) -> tuple[Path | None, str]:
        """The file that sets a key, and the key as it is in this file."""
        for file in self.files:
            if not file.is_file():
                continue
            content = OmegaConf.load(file)
            inner = key if OmegaConf.select(content, key) is not None else key.partition(".")[2]
            if inner and isinstance(content, DictConfig) and OmegaConf.select(content, inner) is not None:
                return file, inner
        return None, ""

    def _text(self, key: str) -> str:
        """The value of a key as it is written in its file; empty if this is not known."""
        file, inner = self._find(key)
        node = yaml.load(file.read_text(encoding="utf-8"), yaml.BaseLoader) if file else ""  # reads every value as text
        for part in inner.split("."):
            node = node.get(part, "") if isinstance(node, dict) else ""
        return node if isinstance(node, str) else ""
