"""W&B's viewer in the terminal."""

from pathlib import Path

import pytest

from regulo.analysis.dashboard.terminal import link_runs
from regulo.core.errors import InputError


def test_it_gathers_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="make train"):
        link_runs(Path("runs"))
    for i in (1, 2):
        (tmp_path / f"runs/r{i}/wandb/offline-run-2026_{i}").mkdir(parents=True)
    view = link_runs(Path("runs"))
    assert sorted(p.name for p in view.iterdir()) == ["latest-run", "offline-run-2026_1", "offline-run-2026_2"]
    assert all(p.is_dir() for p in view.iterdir())
