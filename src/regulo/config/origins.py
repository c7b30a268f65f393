"""Which file or override a value comes from."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from regulo.config.schema import SINGLE
from regulo.core import yaml_files


class ValueOrigins:
    """Says which file or override a key came from."""

    def __init__(self, arguments: Sequence[str], tree: Mapping[str, Any]) -> None:
        self.arguments = [a.lstrip("+~") for a in arguments]
        said = {g: node.get("name") for g in SINGLE if isinstance(node := tree.get(g), Mapping)}
        said |= dict(a.split("=", 1) for a in self.arguments if "=" in a)
        wanted = [(g, said.get(g)) for g in ("experiment", "debug", *SINGLE)]
        self.files = [
            yaml_files.config_dir() / g / f"{option}.yaml"
            for g, option in wanted
            if option in yaml_files.list_groups().get(g, ())
        ]
        self.files += [yaml_files.config_dir() / "train.yaml"]

    def describe(self, key: str) -> str:
        """A phrase, or nothing if it cannot be told."""
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
