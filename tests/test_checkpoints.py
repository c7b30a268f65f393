"""A checkpoint is whole on the disk before it takes the place of the one before."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from regulo.tracking.checkpoint_io import AtomicCheckpoints, read_checkpoint


def test_a_checkpoint_reaches_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        fsync(descriptor)
        calls.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))

    def note_replace(self: Path, target: Any) -> Path:
        calls.append((self.name, Path(target).name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    AtomicCheckpoints().save_checkpoint({"x": torch.ones(3)}, tmp_path / "last.ckpt")
    ((first, part), (source, name)) = calls
    assert (first, source, name) == ("fsync", part, "last.ckpt")
    assert part != "last.ckpt"


def test_the_last_checkpoint_but_one_is_kept_and_a_failed_one_changes_nothing(tmp_path: Path) -> None:
    save = AtomicCheckpoints().save_checkpoint
    for value in (1, 2, 3):
        save({"x": value}, tmp_path / "last.ckpt")
    assert (read_checkpoint(tmp_path / "last.ckpt")["x"], read_checkpoint(tmp_path / "previous.ckpt")["x"]) == (3, 2)
    with pytest.raises((TypeError, AttributeError, RuntimeError)):
        save({"x": 4, "thread": (number for number in "no checkpoint")}, tmp_path / "last.ckpt")
    assert (read_checkpoint(tmp_path / "last.ckpt")["x"], read_checkpoint(tmp_path / "previous.ckpt")["x"]) == (3, 2)
    assert sorted(os.listdir(tmp_path)) == ["last.ckpt", "previous.ckpt"]
