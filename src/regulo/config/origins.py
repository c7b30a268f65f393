"""Which file or override a value comes from."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from regulo.config.schema import SINGLE
from regulo.core import yaml_files


class ValueOrigins:
    """Finds the file or the override that sets a key, for error messages."""

    def __init__(self, arguments: Sequence[str], tree: Mapping[str, Any]) -> None:
        self.arguments = [a.lstrip("+~") for a in arguments]
        options = {group: node.get("name") for group in SINGLE if isinstance(node := tree.get(group), Mapping)}
        options |= dict(a.split("=", 1) for a in self.arguments if "=" in a)
        folder, groups = yaml_files.config_dir(), yaml_files.list_groups()
        candidates = [(group, options.get(group)) for group in ("experiment", "debug", *SINGLE)]
        self.files = [folder / group / f"{option}.yaml" for group, option in candidates if option in groups.get(group, ())]
        self.files.append(folder / "train.yaml")

    def describe(self, key: str) -> str:
        """Where the value of a key is set, such as "on the command line"; empty if this is not known."""
        if key in (argument.split("=", 1)[0] for argument in self.arguments):
            return "on the command line"
        for file in self.files:
            if not file.is_file():
                continue
            content = OmegaConf.load(file)
            inner = key if OmegaConf.select(content, key) is not None else key.partition(".")[2]
            if inner and isinstance(content, DictConfig) and OmegaConf.select(content, inner) is not None:
                return f"in configs/{file.relative_to(yaml_files.config_dir()).as_posix()}"
        return ""
