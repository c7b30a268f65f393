"""Every experiment heads with its command, time and expected result, and runs for a few steps."""

from pathlib import Path

import pytest

from regulo import config
from regulo.cli import main

EXPERIMENTS = config.groups()["experiment"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_says_what_to_expect(name: str) -> None:
    head = (config.folder() / "experiment" / f"{name}.yaml").read_text().split("defaults:")[0]
    for part in (f"experiment={name}", "time ", "expected "):
        assert part in head
    assert "@" not in head.replace("# @package", ""), "no placeholder is left"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs(name: str, tmp_path: Path) -> None:
    overrides = [f"experiment={name}", "debug=fast", "logger=csv", "data.num_workers=0", f"run_dir={tmp_path / 'run'}"]
    assert main(["train", *overrides]) == 0
