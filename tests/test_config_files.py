"""Broken files in configs/: each is refused with its name, the line or key, and what to do."""

import shutil
from pathlib import Path

import pytest

from regulo.config import compose
from regulo.core import yaml_files
from regulo.core.errors import InputError

HEAD = "# @package _global_\n"


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of configs/ that is used instead."""
    folder = Path(shutil.copytree(yaml_files.config_dir(), tmp_path / "configs"))
    monkeypatch.setattr(yaml_files, "config_dir", lambda: folder)
    return folder


def problems(*words: str) -> list[str]:
    with pytest.raises(InputError) as refusal:
        compose.load_config(words)
    return [str(problem) for problem in refusal.value.problems]


BROKEN = {
    "not UTF-8": (HEAD.encode() + b"name: caf\xe9\n", "line 2 is not UTF-8 text"),
    "defaults": (HEAD + "defaults: 3\n", "defaults is 3, not a list"),
    "an alias to itself": (HEAD + "optim: &a\n  lr: *a\n", "a value holds itself"),
    "a tab": (HEAD + "optim:\n\tlr: 1\n", "line 3: "),
    "half a reference": (HEAD + "name: ${seed\n", "name: '${seed' has a reference that does not end"),
    "a number as key": (HEAD + "1: 2\n", "the key 1 is no text"),
    "null as key": (HEAD + "null: 2\n", "the key None is no text"),
    "a nested number as key": (HEAD + "optim:\n  1: 2\n", "the key 1 in optim is no text"),
    "an empty key": (HEAD + ": x\n", "line 2: the key is empty"),
    "a BOM": ("\ufeff" + HEAD + "seed: 3\n", "byte order mark"),
    "nothing": ("", "it is empty"),
    "only comments": (HEAD, "it is empty"),
    "text": (HEAD + "hello\n", "not made of keys and values, but 'hello'"),
    "a list": (HEAD + "- a\n", "not made of keys and values, but ['a']"),
    "no header": ("# about it\nseed: 3\n", "write: # @package _global_"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_experiment_is_refused_by_name(case: str, configs: Path) -> None:
    content, message = BROKEN[case]
    (configs / "experiment" / "mine.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    (problem,) = problems("experiment=mine")
    assert problem.startswith("configs/experiment/mine.yaml: ")
    assert message in problem
    compose.load_config([])  # it is not used here


@pytest.mark.parametrize("word", ["+regularizer=mine", "regularizer=mine", "experiment=user"])
@pytest.mark.parametrize("content", ["mine:\n\ta: 1\n", "- a\n", "", "hello", "mine: {1: 2}\n"])
def test_a_broken_file_is_found_wherever_it_is_named(content: str, word: str, configs: Path) -> None:
    (configs / "regularizer" / "mine.yaml").write_text(content)
    (configs / "experiment" / "user.yaml").write_text(f"{HEAD}defaults: [override /regularizer: [mine], _self_]\n")
    assert problems(word, "seed=-1")[0].startswith("configs/regularizer/mine.yaml: ")


def test_a_value_that_is_left_open_must_be_given(configs: Path) -> None:
    (configs / "experiment" / "mine.yaml").write_text(f"{HEAD}seed: ???\noptim:\n  lr: ???\n")
    open_values = problems("experiment=mine")
    assert open_values == [
        "seed: has no value: configs/experiment/mine.yaml leaves it open (???) — seed=…",
        "optim.lr: has no value: configs/experiment/mine.yaml leaves it open (???) — optim.lr=…",
    ]
    config = compose.load_config(["experiment=mine", "seed=3", "optim.lr=0.1"])
    assert (config.run.seed, config.optim.lr) == (3, 0.1)


def test_long_values_and_keys_are_cut(configs: Path) -> None:
    (configs / "experiment" / "mine.yaml").write_text(
        f"{HEAD}seed: {'x' * 10_000}\nname: [{'y' * 10_000}]\n? {'z' * 10_000}\n: 1\n"
    )
    for words in (
        ["experiment=mine"],
        [f"seed={'x' * 10_000}"],
        ["x" * 10_000],
        [f"model={'x' * 10_000}"],
        [f"{'x' * 10_000}=1"],
    ):
        assert all(len(problem) < 700 for problem in problems(*words))
