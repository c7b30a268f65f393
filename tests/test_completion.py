"""Completion: what the hidden command prints is right, comes without torch, and reaches bash, zsh and fish."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from regulo.__main__ import build_commands, main
from regulo.analysis.ablation.study import StudyConfig
from regulo.config import schema
from regulo.config.completion import CLASSES, MULTIPLE, list_candidates, split_line
from regulo.core import registry, yaml_files
from regulo.core.class_fields import read_fields
from regulo.core.registry import list_modules

PARSERS = {name: command.parser for name, command in build_commands().items()}
BIN = Path(sys.executable).parent


def complete(line: str) -> list[str]:
    words, _ = split_line(line)
    return list_candidates(PARSERS, words[1:-1], words[-1])


# ---- what is read from the source is what the classes say


@pytest.mark.parametrize("group", registry.GROUPS)
def test_fields_read_from_the_source_are_those_of_the_classes(group: str) -> None:
    assert list_modules(registry.GROUPS[group]) == registry.list_plugins(group)
    for name in registry.list_plugins(group):
        assert list(read_fields(f"{registry.GROUPS[group]}.{name}")) == list(registry.get_plugin(group, name).model_fields), name


def test_fields_of_sections_are_those_of_their_classes() -> None:
    classes = {"": schema.RunConfig, "study": StudyConfig, **schema.SECTIONS}
    assert {section: list(cls.model_fields) for section, cls in classes.items()} == {
        section: list(read_fields(*place)) for section, place in CLASSES.items()
    }
    assert schema.MULTI == MULTIPLE


# ---- candidates


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("regulo tra", ["train "]),
        ("regulo help eval", ["evaluate "]),
        ("regulo --ver", ["--version "]),
        (
            "regulo train model=",
            ["model=airbench ", "model=resnet_small ", "model=timm ", "model=torchvision ", "model=vit_tiny "],
        ),
        ("regulo train optim.l", ["optim.lr=", "optim.lr_base_batch="]),
        ("regulo train optim=sgd optim.n", ["optim.nesterov="]),
        ("regulo train optim=adamw optim.n", []),
        ("regulo train optim.schedule=o", ["optim.schedule=one_cycle "]),
        ("regulo train trainer.deterministic=", ["trainer.deterministic=false ", "trainer.deterministic=true "]),
        ("regulo train regularizer=[mixup,mixu", []),
        ("regulo train regularizer=[mixup,cutm", ["regularizer=[mixup,cutmix"]),
        ("regulo train +regularizer=mixu", ["+regularizer=mixup "]),
        ("regulo train ~regularizer.mixu", ["~regularizer.mixup "]),
        ("regulo train regularizer.mixu", ["regularizer.mixup."]),
        ("regulo train regularizer.mixup.al", ["regularizer.mixup.alpha="]),
        ("regulo train 'regularizer=[mixup,cutm", ["regularizer=[mixup,cutmix"]),
        ("regulo train --r", ["--resume "]),
        ("regulo train seed=1 experiment=les", ["experiment=lesson "]),
        ("regulo ablate study=qu", ["study=quick "]),
        ("regulo crossval fo", ["folds="]),
        ("regulo tune bud", ["budget="]),
        ("regulo tune tune.s", ["tune.search="]),
        ("regulo tune --r", ["--resume "]),
        ("regulo ablate study.see", ["study.seeds="]),
        ("regulo train stud", []),
        ("regulo doctor --f", ["--fix "]),
        ("regulo claims too_", ["too_much "]),
        ("regulo evaluate runs/x t", ["test ", "train_clean "]),
        ("regulo runs pi", ["pin ", "pinned="]),
        ("regulo runs state=f", ["state=failed "]),
        ("regulo runs --sort mo", ["model "]),
        ("regulo completion ", ["bash ", "fish ", "zsh "]),
        ("regulo train nowhere.x", []),
        ("regulo trian x", []),
        ("regulo list ", []),
    ],
)
def test_a_line_is_completed(line: str, expected: list[str]) -> None:
    assert complete(line) == expected


def test_every_group_is_offered_as_a_choice_and_as_a_section() -> None:
    candidates = complete("regulo train ")
    assert {f"{group}=" for group in yaml_files.list_groups()} | {
        f"{section}." for section in (*registry.GROUPS, *schema.SECTIONS)
    } <= set(candidates)
    assert {f"{field}=" for field in schema.RunConfig.model_fields} <= set(candidates)


def test_runs_are_offered_where_a_run_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two", "no_run"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    for name in ("one", "two"):
        (tmp_path / "runs" / name / "config.yaml").touch()
    (tmp_path / "runs" / "studies" / "quick").mkdir(parents=True)
    (tmp_path / "runs" / "studies" / "quick" / "study.json").touch()
    runs = ["runs/one ", "runs/two "]
    for command in ("evaluate", "predict", "export"):
        assert complete(f"regulo {command} ") == ["best ", "latest ", *runs]
    assert complete("regulo runs rm ") == complete("regulo runs pin a ") == ["best ", "latest ", *runs]
    assert complete("regulo train --resume ") == ["latest ", *runs]
    assert complete("regulo doctor runs/o") == ["runs/one "]
    assert complete("regulo dashboard ") == ["best ", "latest ", "runs/one ", "runs/studies/quick ", "runs/two "]
    assert complete("regulo report runs/one runs/") == ["runs/one ", "runs/studies/quick ", "runs/two "]
    assert complete("regulo predict runs/one ") == [], "files: the shell's own completion"


def test_words_are_split_as_a_shell_does() -> None:
    assert split_line("program train ") == (["program", "train", ""], False)
    assert split_line(r"program a\ b 'c  d' e\"f") == (["program", "a b", "c  d", 'e"f'], False)
    assert split_line("program 'a b") == (["program", "a b"], True)
    assert split_line("program") == (["program", ""], False)


def test_bash_gets_what_stands_behind_the_letters_at_which_it_breaks_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["__complete", "bash", "regulo train model=vit", "=:"]) == 0
    assert main(["__complete", "bash", "regulo train 'model=vit", "=:"]) == 0
    assert main(["__complete", "bash", "regulo train model=vit", ""]) == 0
    assert main(["__complete", "zsh", "regulo train model=vit"]) == 0
    assert main(["__complete", "fish", "regulo train model=vit"]) == 0
    whole = "model=vit_tiny "
    assert capsys.readouterr().out.split("\n")[:-1] == ["vit_tiny ", whole, whole, whole, whole.strip()]


def test_a_candidate_comes_fast_and_without_torch() -> None:
    code = (
        "import sys, time; start = time.process_time(); from regulo.__main__ import main; "
        "main(['__complete', 'bash', 'regulo train regularizer.mixup.', '=']); "
        "print({'torch', 'lightning', 'numpy', 'hydra', 'omegaconf'} & set(sys.modules), time.process_time() - start)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *candidates, last = process.stdout.splitlines()
    assert candidates == ["regularizer.mixup.alpha=", "regularizer.mixup.mode=", "regularizer.mixup.p="]
    assert last.startswith("set() ")
    assert float(last.split()[-1]) < 0.5, "seconds of work; 0.2 on an idle machine"


# ---- the shells themselves


def shell(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "TERM": "dumb", "COLUMNS": "200", "PS1": "> "}


@pytest.mark.parametrize(
    ("line", "expected"),
    [("regulo trai", "train "), ("regulo train optim.sched", "optim.schedule="), ("regulo train model=vit", "vit_tiny ")],
)
def test_bash_completes(line: str, expected: str) -> None:
    script = (
        'eval "$(regulo completion bash)"; complete -p regulo >&2; COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}; '
        'COMP_WORDBREAKS="=:"; _regulo regulo; printf "[%s]" "${COMPREPLY[@]}"'
    )
    words = [shell("bash"), "--norc", "-c", script, "bash", line]
    process = subprocess.run(words, capture_output=True, text=True, check=True, env=environment())
    assert process.stdout == f"[{expected}]"
    assert "-F _regulo regulo" in process.stderr


def test_fish_completes() -> None:
    script = "regulo completion fish | source; complete -C 'regulo train optim.l'; complete -C 'regulo trai'"
    words = [shell("fish"), "--no-config", "-c", script]
    process = subprocess.run(words, capture_output=True, text=True, check=True, env=environment())
    assert process.stdout.split() == ["optim.lr=", "optim.lr_base_batch=", "train"]


def test_zsh_completes() -> None:
    path = shell("zsh")
    process, terminal = pty.fork()
    if process == 0:
        os.execve(path, ["zsh", "-f", "-i"], environment())
    try:
        start = 'autoload -U compinit; compinit -u -D; eval "$(regulo completion zsh)"; echo rea""dy\n'
        assert until(terminal, start, "ready")
        for line, expected in (("regulo tra", "train "), ("regulo train optim.sched", "optim.schedule=")):
            assert until(terminal, f"{line}\t", expected), line
            os.write(terminal, b"\x15")  # Ctrl-U: an empty line
    finally:
        os.close(terminal)
        os.waitpid(process, 0)


def until(terminal: int, keys: str, expected: str, seconds: float = 30) -> bool:
    """Type, and wait until the terminal has shown the expected text, whose last letters completion adds."""
    os.write(terminal, keys.encode())
    output, end = "", time.monotonic() + seconds
    while time.monotonic() < end and expected not in output.replace("\a", ""):
        if select.select([terminal], [], [], 0.2)[0]:
            output += os.read(terminal, 65536).decode(errors="replace")
    return expected in output.replace("\a", "")
