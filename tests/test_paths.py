"""Paths with any characters: as values of the configuration, and in the commands that are printed."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from regulo.analysis.doctor import terminal
from regulo.analysis.doctor.autofix import check_file
from regulo.analysis.doctor.command import is_run_folder
from regulo.analysis.doctor.verdict import suggest_commands
from regulo.analysis.report import repeat
from regulo.config import compose
from regulo.core.errors import InputError
from regulo.core.program import PROGRAM
from regulo.evaluation import summary
from regulo.tracking.run_dir import RunFolder
from tests.conftest import environment_outside_make

FOLDERS = [
    "my images",
    " a  b ",
    "a,b",
    "pets (2023)",
    "x#1",
    "bob's",
    'the "best"',
    "lr=0.1",
    "é",
    "写真",
    "2024",
    "1_1_1",
    "[a]",
    "{a,b}",
    "a\\b",
    "50% off; ls & $HOME `ls` !x",
    "*?",
    ":dog:",
    "-x",
    "~x",
]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_path_is_taken_as_it_is_written(name: str) -> None:
    for path in (name, f"data/{name}", f"/data/{name}/x"):
        config = compose.load_config(["data=image_folder", f"data.root={path}", f"run_dir={path}", f"+model.weights={path}"])
        assert (config.data.root, config.run.run_dir, config.model.weights) == (path, path, path)
        assert compose.override_config(config.as_dict(), [f"data.root={path}/y"])["data"]["root"] == f"{path}/y"


def test_a_path_may_also_be_null_or_in_quotes_and_other_values_are_read_as_before() -> None:
    config = compose.load_config(["data.root='a b'", 'run_dir="it\'s"', "model.weights=null"])
    assert (config.data.root, config.run.run_dir, config.model.weights) == ("a b", "it's", None)
    with pytest.raises(InputError, match=r"optim\.lr=1,2: is several values"):
        compose.load_config(["optim.lr=1,2"])


@pytest.fixture
def shell(tmp_path: Path) -> Path:
    """A folder with programs `regulo` and `make train` that write their arguments into arguments.json."""
    python = f'{sys.executable} -c \'import json, sys; json.dump(sys.argv[1:], open("arguments.json", "w"))\''
    (tmp_path / PROGRAM).write_text(f'#!/bin/sh\nexec {python} "$@"\n')
    (tmp_path / PROGRAM).chmod(stat.S_IRWXU)
    (tmp_path / "Makefile").write_text("train evaluate:\n\t@./regulo $@ $(ARGS)\n")
    return tmp_path


def paste(command: str, shell: Path) -> list[str]:
    """The arguments that `regulo` gets when a user pastes this line."""
    environment = environment_outside_make()
    environment |= {"PATH": f"{shell}:{environment['PATH']}", "HOME": "/home/me"}
    subprocess.run(["sh", "-c", command], cwd=shell, env=environment, check=True, capture_output=True)
    arguments: list[str] = json.loads((shell / "arguments.json").read_text())
    return arguments


@pytest.mark.parametrize("name", FOLDERS)
def test_a_command_that_is_printed_can_be_pasted(name: str, shell: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = f"/data/{name}/x"
    overrides = ["data=image_folder", f"data.root={path}", "regularizer.dropout.fc={start:0,end:0.5}"]
    config = compose.load_config(overrides)
    terminal.print_experiment(shell / "mine.yaml", overrides)
    summary.print_run_folder(Path(path))
    _, _, doctor, _, evaluate = capsys.readouterr().out.splitlines()
    assert paste(doctor.removeprefix("or:"), shell) == ["train", *overrides]
    assert paste(evaluate.removeprefix("again:").partition("   curves")[0], shell) == ["evaluate", path]
    assert paste(RunFolder(Path(path)).resume_command(), shell) == ["train", "--resume", path]
    for command in (repeat.command(config.as_dict()), next(suggest_commands("underfits", config))):
        words = paste(command, shell)
        assert words[0] == "train"
        changed = [word for word in words[1:] if not word.startswith("trainer.max_epochs")]
        assert compose.load_config(changed).data == config.data
        assert compose.load_config(changed).regularizer == config.regularizer


def test_doctor_takes_a_run_whose_path_looks_like_an_override(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "lr=0.1").mkdir()
    (tmp_path / "lr=0.1" / "config.yaml").touch()
    assert is_run_folder(f"{tmp_path}/lr=0.1")
    assert is_run_folder("~/lr=0.1")
    assert not is_run_folder("optim.lr=0.1")
    assert not is_run_folder("~regularizer.mixup")
    assert not is_run_folder("data.root=" + "x" * 5000)


def test_an_experiment_has_a_name_that_an_override_can_choose(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--fix: 'my run \(1\)' is not a name.* — .*my_run_1_\.yaml"):
        check_file(tmp_path / "my run (1).yaml")
