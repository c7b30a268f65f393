"""The locations of the YAML files of the configuration. Imports only pathlib, so that shell completion is fast."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def config_dir() -> Path:
    """The folder configs/: next to src/ in a checkout, inside the package in a wheel."""
    inside = PACKAGE / "configs"
    return inside if inside.is_dir() else PACKAGE.parents[1] / "configs"


def list_groups() -> dict[str, list[str]]:
    """The config groups and their options, without `study`, whose files do not describe a run."""
    groups = (d for d in sorted(config_dir().iterdir()) if d.is_dir() and d.name != "study")
    return {d.name: sorted(p.stem for p in d.glob("*.yaml")) for d in groups}
