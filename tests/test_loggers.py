"""Which W&B run a configuration and the environment make together."""

from pathlib import Path
from typing import Any

import pytest

from regulo.config import compose
from regulo.core.errors import InputError
from regulo.core.program import PROGRAM
from regulo.tracking.backends import wandb as wandb_backend
from regulo.tracking.loggers import VARIABLES, LoggerConfig


@pytest.fixture
def wandb_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A function that gives the options with which the W&B run of these overrides is started."""
    for variable in (*VARIABLES.values(), "WANDB_NAME"):
        monkeypatch.delenv(variable, raising=False)

    class StartedError(Exception):
        pass

    def start(*overrides: str) -> dict[str, Any]:
        options: dict[str, Any] = {}

        def start_run(folder: Path, mode: str, **rest: Any) -> None:
            options.update(rest, mode=mode)
            raise StartedError

        monkeypatch.setattr(wandb_backend, "start_run", start_run)
        try:
            with compose.load_config(overrides).logger.open_loggers(tmp_path / "folder", "title", {}):
                options["mode"] = "disabled"
        except StartedError:
            pass
        return options

    return start


def test_the_environment_fills_what_the_configuration_leaves_open(
    wandb_options: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    default = {"mode": "offline", "project": PROGRAM, "entity": None, "group": None, "tags": [], "name": "title", "config": {}}
    assert wandb_options() == default
    assert not capsys.readouterr().out
    values = {"MODE": "online", "PROJECT": "p", "ENTITY": "e", "RUN_GROUP": "g", "TAGS": "a, b", "NAME": "n"}
    for name, value in values.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    filled = {"mode": "online", "project": "p", "entity": "e", "group": "g", "tags": ["a", "b"], "name": "n", "config": {}}
    assert wandb_options() == filled
    output = capsys.readouterr().out
    assert "WANDB_PROJECT=p is used" in output
    assert "WANDB_NAME=n is used" in output
    assert wandb_options("logger=wandb", "logger.project=mine", "logger.tags=[c]") == filled | {
        "mode": "offline",
        "project": "mine",
        "tags": ["c"],
    }
    output = capsys.readouterr().out
    assert "logger.wandb wins over WANDB_MODE=online" in output
    assert "logger.project wins over WANDB_PROJECT=p" in output
    assert "logger.tags wins over WANDB_TAGS=a,b" in output
    assert "WANDB_ENTITY=e is used" in output
    assert output.count("\n") == 1


def test_wandb_mode_can_switch_it_off_and_old_names_of_modes_are_known(
    wandb_options: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "p")
    for value, mode in (("disabled", "disabled"), ("dryrun", "offline"), ("run", "online"), ("", "offline")):
        monkeypatch.setenv("WANDB_MODE", value)
        assert wandb_options()["mode"] == mode
    monkeypatch.setenv("WANDB_MODE", "online")
    capsys.readouterr()
    assert wandb_options("logger=csv")["mode"] == "disabled"
    assert capsys.readouterr().out == "W&B: logger.wandb wins over WANDB_MODE=online\n"


@pytest.mark.parametrize(
    ("variable", "value", "config"),
    [
        ("WANDB_MODE", "shared", LoggerConfig()),
        ("WANDB_MODE", "of\nline", LoggerConfig()),
        ("WANDB_MODE", "foo", LoggerConfig(wandb="offline")),
        ("WANDB_INIT_TIMEOUT", "soon", LoggerConfig()),
    ],
)
def test_values_that_wandb_does_not_take_are_refused_with_the_name(
    variable: str, value: str, config: LoggerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=f"^{variable}: "):
        config.preflight()
