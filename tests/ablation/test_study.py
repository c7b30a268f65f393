"""A study's fields, its command line, its cells: every mistake is refused before the first run."""

from pathlib import Path

import pytest

from regulo.__main__ import main
from regulo.analysis.ablation.cells import StudyCell, check_cells, list_cells
from regulo.analysis.ablation.study import parse_study_args
from regulo.config import compose
from regulo.core import registry, yaml_files
from regulo.core.errors import InputError

ABC = "study.techniques={a: [+regularizer=mixup], b: [+regularizer=cutmix], c: [+regularizer=sam]}"
PLAIN = "regularizer=none"


def cells_of(*arguments: str) -> list[StudyCell]:
    return list_cells(parse_study_args(arguments).study)


@pytest.mark.parametrize("name", yaml_files.list_options("study"))
def test_the_shipped_studies_are_valid_and_say_command_time_and_result(name: str) -> None:
    configs = check_cells(parse_study_args([f"study={name}"]).study)
    assert len(configs) > 2
    head = yaml_files.find_option("study", name).read_text().split("title:")[0]
    for word in (f"study={name}", "time", "expected"):
        assert word in head


def test_the_designs() -> None:
    assert [c.label for c in cells_of(ABC)] == ["base", "a", "b", "c"]
    assert [c.label for c in cells_of(ABC, "study.design=leave_one_out")] == ["all", "without a", "without b", "without c"]
    pairs = cells_of(ABC, "study.design=pairs")
    assert [c.label for c in pairs] == ["base", "a", "b", "c", "a + b", "a + c", "b + c"]
    assert pairs[-1].techniques == ("b", "c")
    strengths = cells_of(ABC, "study.design=strengths", "study.strengths=[2,0.5]")
    assert [(c.label, c.strength) for c in strengths] == [("strength 0.5", 0.5), ("strength 2", 2.0)]
    for cell in strengths:
        run = compose.load_config(cell.overrides)
        assert run.run.strength == cell.strength
        assert {"mixup", "cutmix", "sam"} <= set(run.regularizer)


def test_every_technique_there_is_can_be_named_and_brings_what_it_needs() -> None:
    """The techniques are discovered, so that a new one is tested without a change here."""
    names = registry.list_plugins("regularizer")
    configs = check_cells(
        parse_study_args([PLAIN, f"study.techniques=[{','.join(names)}]", "model=vit_tiny", "data=cifar10"]).study
    )
    assert [c.techniques for c in configs] == [(), *((n,) for n in names)]
    for cell, run in configs.items():
        assert set(cell.techniques) <= set(run.regularizer)
        assert run.model.name == "vit_tiny"
        assert run.data.name == "cifar10"
    assert next(c.label for c in configs if c.techniques == ("r_drop",)) == "r_drop (with dropout)"


def test_what_is_there_already_is_not_brought_again() -> None:
    (_, cell) = cells_of("study.techniques=[mc_dropout]", "regularizer=[stochastic_depth]")
    assert cell.label == "mc_dropout"
    alone = cells_of("study.techniques=[r_drop,dropout]", "study.design=leave_one_out", PLAIN)
    assert [c.label for c in alone] == ["all", "without r_drop", "without dropout (with dropout)"]


def test_words_of_the_study_are_not_overrides_and_the_rest_is_of_the_base(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("techniques: [mixup]\nbase: [optim.lr=0.1]\nseeds: 5\n")
    args = parse_study_args(
        [f"study={file}", "study.seeds=2", "at_once=3", "optim.lr=0.3", "launcher=local", "launcher.timeout_min=5"]
    )
    assert (args.name, args.study.seeds, args.launch.at_once, args.launch.launcher) == ("mine", 2, 3, "local")
    assert args.launch.parameters == {"timeout_min": 5}
    assert args.study.base == ["optim.lr=0.1", "optim.lr=0.3"]
    run = compose.load_config(list_cells(args.study)[0].overrides)
    assert (run.optim.model_dump()["lr"], run.logger.wandb, run.callbacks) == (0.3, "disabled", {})
    assert compose.load_config(cells_of("logger=wandb")[0].overrides).logger.wandb == "offline"


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["study=quik"], ["no study 'quik'", "did you mean quick?"]),
        (["study=nowhere.yaml"], ["no file nowhere.yaml"]),
        (["study.seedz=2", "study.seeds=0", "at_once=x"], ["did you mean seeds?", "study.seeds: 0", "at_once: 'x'"]),
        (["study.techniques=[mixupp]"], ["no technique 'mixupp'", "did you mean mixup"]),
        (["study.techniques=[mixupp]", "seed=3", "optim.lr=abc"], ["mixupp", "seed=3: belongs to the study", "'abc'"]),
        (["study.design=strengths", "strength=2"], ["study.strengths="]),
        (["study.techniques={a: [regularizer.mixup.alpa=2], b: [optim.lr=x]}"], ["cell 'a'", "did you mean alpha?", "cell 'b'"]),
        (["study.techniques={a: [optim.lr=0.1], b: [optim.lr=0.1]}"], ["cell 'b': is the very same run as 'a'"]),
        (["study.techniques={a b: [optim.lr=0.1], a_b: [optim.lr=0.3]}"], ["has the same folder as 'a b'"]),
        (["study.design=pairs", "study.techniques=[mixup,aug_mix]"], ["cell 'mixup + aug_mix'", "cannot run beside"]),
        (["study.techniques=[a,b"], ["cannot be read"]),
        (["launcher.x=2"], ["no launcher is named"]),
        (["launcher=slurm", "study.budget=2"], ["study.budget=null"]),
    ],
)
def test_mistakes_are_refused_with_the_nearest_right_thing(arguments: list[str], messages: list[str]) -> None:
    with pytest.raises(InputError) as refusal:
        check_cells(parse_study_args([*arguments, *([PLAIN] if "study=quik" not in arguments else [])]).study)
    for text in messages:
        assert text in str(refusal.value)


def test_a_study_is_no_group_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert "study" not in yaml_files.list_groups()
    assert main(["train", "study=quick"]) == 2
    assert "study: unknown key" in capsys.readouterr().err


def test_a_study_reads_numbers_as_a_run_does(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("techniques: [mixup]\nlabel_noise: 2e-1\n")
    assert parse_study_args(["study.label_noise=1e-1"]).study.label_noise == 0.1
    assert parse_study_args([f"study={tmp_path}/mine.yaml"]).study.label_noise == 0.2
    with pytest.raises(InputError, match=r"study\.title: 2024 should be .* — 2024 is read as a number: quote it, "):
        parse_study_args(["study.title=2024"])
