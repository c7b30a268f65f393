"""Paths below the home folder: shown with `~`, opened only when that is expanded; and users without a home."""

import csv
import io
import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from regulo.__main__ import main
from regulo.analysis.doctor.rules.validation_size import ValidationSize
from regulo.config import compose
from regulo.core.errors import InputError
from regulo.core.paths import PathStr, expand_path, find_home, library_folders, redact_home
from regulo.evaluation.prediction_files import csv_writer
from regulo.tracking.servers import has_netrc_key
from regulo.training import train
from tests.conftest import FAST


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom only a number names, as in a container."""

    def fail(number: int) -> Any:
        raise KeyError(number)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", fail)


def test_a_path_of_a_configuration_cannot_be_opened_before_it_is_expanded(home: Path) -> None:
    overrides = [f"data.root={home}/data", f"run_dir={home}/run", "model=torchvision", f"model.weights={home}/w.pth"]
    config = compose.load_config(overrides)
    saved = config.as_dict()
    assert (saved["run_dir"], saved["data"]["root"], saved["model"]["weights"]) == ("~/run", "~/data", "~/w.pth")
    json.dumps(saved)
    for path in (config.data.root, config.run.run_dir, config.model.weights):  # type: ignore[attr-defined]
        assert isinstance(path, PathStr)
        assert str(path).startswith("~/")
        for function in (open, Path, os.stat, os.path.expanduser):
            with pytest.raises(TypeError):
                function(path)  # type: ignore[operator]
        assert expand_path(path).parent == home
    assert compose.load_config(["data=cifar10"]).data.root == PathStr("data") == "data"
    assert PathStr("data") != PathStr("other")


def test_a_job_that_the_cluster_starts_again_below_the_home_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train", *FAST, "trainer=cpu", "trainer.max_epochs=1", f"run_dir={home / 'run'}"]
    assert main(words) == 0
    file = home / "run" / "result.json"
    file.write_text(file.read_text().replace('"done"', '"running"'))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert main(words) == 0
    assert json.loads(file.read_text())["restarts"] == 1


def test_the_doctor_sees_a_validation_folder_below_the_home(home: Path) -> None:
    (home / "images" / "valid_set").mkdir(parents=True)
    config = compose.load_config(["data=image_folder", f"data.root={home / 'images'}"])

    class Case:
        pass

    case: Any = Case()
    case.config = config
    assert not ValidationSize.has_val_fraction(case)


@pytest.mark.usefixtures("no_home")
def test_a_user_without_a_home_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_home() is None
    assert redact_home("/root/x") == "/root/x"
    assert expand_path("/x") == Path("/x")
    assert not has_netrc_key("api.wandb.ai")
    with pytest.raises(InputError, match="this user has none — set HOME"):
        expand_path("~/x")
    assert main(["train", *FAST, "trainer=cpu", "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"]) == 0
    monkeypatch.setattr(train, "prepare", None)  # what cannot be a run folder is refused before anything is measured
    assert main(["train", "run_dir='~/x'"]) == 2


@pytest.mark.usefixtures("no_home")
def test_libraries_have_a_temporary_folder_if_there_is_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_CONFIG_DIR", raising=False)
    with library_folders():
        folder = Path(os.environ["WANDB_CONFIG_DIR"])
        assert folder.is_dir()
    assert not folder.exists()
    assert "WANDB_CONFIG_DIR" not in os.environ


def test_a_terminal_gets_no_control_characters_from_a_file_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a\x1b[31m\nregulo: all is well.png"
    pipe, terminal = io.StringIO(), io.StringIO()
    csv_writer(pipe, ["path"])([[name]])
    assert list(csv.DictReader(io.StringIO(pipe.getvalue()))) == [{"path": name}], "a program that reads the CSV can open it"
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    csv_writer(terminal, ["path"])([[name]])
    assert terminal.getvalue() == "path\r\na\\x1b[31m\\nregulo: all is well.png\r\n"
