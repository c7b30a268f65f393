"""Runs of version 0.1, whose names are old: they are evaluated, reported and resumed. New input with old names is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from regulo.__main__ import main
from regulo.analysis.launchers.runs import PERMANENT_ERROR
from regulo.config import compose, validate
from regulo.core import yaml_files
from regulo.core.errors import InputError
from regulo.tracking import checkpoint_io
from regulo.tracking.run_dir import RunFolder
from regulo.tracking.upgrade import (
    RENAMED_KEYS,
    RENAMED_VALUES,
    upgrade_checkpoint,
    upgrade_config,
    upgrade_error_type,
)
from tests.conftest import FinishedRun
from tests.interruptions import differences

OLD_KEYS = {new: old for old, new in RENAMED_KEYS.items()}
OLD_VALUES = {(key, new): old for (key, old), new in RENAMED_VALUES.items()}


def downgrade_config(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as version 0.1 saved it: old names, and no key that came later."""
    result: dict[str, Any] = {}
    for group, section in config.items():
        if not isinstance(section, dict):
            result[group] = section
            continue
        result[group] = {}
        for name, value in section.items():
            key = f"{group}.{name}"
            if key not in ("trainer.max_restarts", "data.device"):
                old_name = OLD_KEYS.get(key, key).partition(".")[2]
                result[group][old_name] = OLD_VALUES.get((key, value), value) if isinstance(value, str) else value
    return result


def downgrade_run(folder: Path) -> None:
    """Rewrite a run's configuration and its checkpoints, as version 0.1 wrote them."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(downgrade_config(yaml.safe_load(file.read_text()))))
    for path in (folder / "checkpoints").glob("*.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["regulo"]["config"] = downgrade_config(checkpoint["regulo"]["config"])
        torch.save(checkpoint, path)


@pytest.fixture
def old_run(finished_run: FinishedRun, tmp_path: Path) -> Path:
    folder = tmp_path / "old"
    shutil.copytree(finished_run.folder, folder)
    downgrade_run(folder)
    return folder


def test_the_old_names_of_a_configuration_become_those_of_today(finished_run: FinishedRun) -> None:
    config = RunFolder.open(finished_run.folder).read_config()
    old = downgrade_config(config)
    assert {"clip", "lr_for_batch"} < old["optim"].keys()
    assert {"hang_seconds"} < old["trainer"].keys()
    assert old["logger"]["wandb"] == "off"
    new_config = upgrade_config(old)
    assert config["data"]["device"] == "device"
    config["data"]["device"] = "loader"  # which 0.1 always used
    assert validate.validate_config(new_config) == validate.validate_config(config)
    assert {**new_config, "trainer": {**new_config["trainer"], "max_restarts": 0}} == config


def test_what_is_current_or_no_configuration_comes_back_as_it_is(finished_run: FinishedRun) -> None:
    config = RunFolder.open(finished_run.folder).read_config()
    config["optim"] = {**config["optim"], "clip": 1}
    assert upgrade_config(config) is config, "a field of someone's own optimizer may have an old name"
    for odd in ({}, {"trainer": 1}, {"optim": {"clip": 1}}):
        assert upgrade_config(odd) is odd
    for odd_checkpoint in (None, [], {}, {"regulo": 1}, {"regulo": {"config": []}}):
        assert upgrade_checkpoint(odd_checkpoint) == odd_checkpoint
    both = {"trainer": {"compile": "on"}, "optim": {"clip": 1, "grad_clip_norm": 2}}
    assert upgrade_config(both) == both, "which is refused later"


def test_an_old_run_is_evaluated_and_reported(
    old_run: Path, finished_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(old_run), "test"]) == 0
    assert json.loads((old_run / "result.json").read_text())["test/acc"] == finished_run.result["test/acc"]
    assert main(["report", str(old_run)]) == 0
    assert (old_run / "report.html").is_file()
    assert main(["doctor", str(old_run)]) in (0, 1, 2)
    assert "unknown key" not in capsys.readouterr().err


def test_an_old_run_goes_on_bit_for_bit(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from regulo.training.module import ClassificationModule

    words = ["seed=3", "trainer=cpu", "trainer.save_every_n_steps=1", "data.device=loader"]
    whole, _ = run(*words, name="whole")
    step = ClassificationModule.training_step

    def interrupt(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 3:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationModule, "training_step", interrupt)
        old, _ = run(*words, name="old", expect=130)
    downgrade_run(old)
    states = torch.load(old / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    assert any(key.startswith("Best{") for key in states), "the key under which 0.1 stored the best score"
    assert main(["train", "--resume", str(old)]) == 0
    assert differences(whole, old) == []
    checkpoint = checkpoint_io.read_checkpoint(old / "checkpoints" / "last.ckpt")
    assert "grad_clip_norm" in checkpoint["regulo"]["config"]["optim"]


@pytest.mark.parametrize(("old", "new"), RENAMED_KEYS.items())
def test_an_old_key_is_refused_with_the_new_one(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished_run: FinishedRun
) -> None:
    data = ["data=image_folder", "data.root=x"]
    with pytest.raises(InputError) as refusal:
        compose.load_config([*data, f"{old}=1"])
    assert f"{old}: unknown key, on the command line — now {new}" in str(refusal.value).splitlines()
    with pytest.raises(InputError, match=f"~{old}: does not exist, so it cannot be removed — now {new}"):
        compose.load_config([*data, f"~{old}"])
    config = RunFolder.open(finished_run.folder).read_config()
    with pytest.raises(InputError, match=f"^{old}: unknown key, on the command line — now {new}$"):
        compose.override_config(config, [f"{old}=1"])

    shutil.copytree(yaml_files.config_dir(), tmp_path / "configs")
    group, name = old.split(".")
    (tmp_path / "configs/experiment/mine.yaml").write_text(f"# @package _global_\n{group}:\n  {name}: 1\n")
    monkeypatch.setattr(yaml_files, "config_dir", lambda: tmp_path / "configs")
    with pytest.raises(InputError) as refusal:
        compose.load_config([*data, "experiment=mine"])
    assert f"{old}: unknown key, in configs/experiment/mine.yaml — now {new}" in str(refusal.value).splitlines()


def test_an_old_key_that_the_option_never_had_gets_the_nearest_of_its_own() -> None:
    with pytest.raises(InputError) as refusal:
        compose.load_config(["data.check=full"])  # of image_folder only
    assert "verify_images" not in str(refusal.value)


@pytest.mark.parametrize("word", ["off", "false"])
def test_an_old_value_is_refused_with_the_new_one(word: str) -> None:
    with pytest.raises(InputError, match=r"^logger\.wandb: .* on the command line — now disabled$"):
        compose.load_config([f"logger.wandb={word}"])


def test_an_old_key_of_a_resumed_run_is_refused(old_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", str(old_run), "trainer.hang_seconds=9"]) == 2
    assert "trainer.hang_seconds: unknown key, on the command line — now trainer.hang_timeout" in capsys.readouterr().err


def test_help_names_the_new_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help", "optim.clip"]) == 2
    assert "now optim.grad_clip_norm" in capsys.readouterr().err


def test_the_old_name_of_an_error_counts_as_the_new_one() -> None:
    assert upgrade_error_type("Diverged") == upgrade_error_type(PERMANENT_ERROR) == PERMANENT_ERROR
    assert upgrade_error_type("RunError") == "RunError"
    assert upgrade_error_type(None) is None
