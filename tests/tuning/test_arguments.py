"""The command line of `regulo tune`: every mistake is refused before anything runs."""

from pathlib import Path

import pytest

from regulo.__main__ import main
from regulo.analysis.tuning.arguments import parse_tune_args, searchable_names
from regulo.analysis.tuning.budget import Budget, Cost, estimate_cost, expected_runs, parse_duration, spent_work
from regulo.analysis.tuning.study import Trial
from regulo.core import registry
from regulo.core.errors import InputError


def test_the_words_are_taken_apart() -> None:
    words = [
        "budget=90min",
        "model=vit_tiny",
        "tune.search=[mixup,cutmix.p,regularizer.ema.half_life,optim.lr]",
        "tune.fix=[strength]",
    ]
    args = parse_tune_args([*words, "seeds=5", "plans=2", "rungs=1", "study=mine", "at_once=2"])
    assert args.seconds == 5400
    assert args.search == ("mixup", "cutmix.p", "ema.half_life", "optim.lr")
    assert args.fix == ("strength",)
    assert (args.seeds, args.plans, args.rungs, args.name, args.launch.at_once) == (5, 2, 1, "mine", 2)
    assert args.overrides == ("logger=csv", "callbacks=none", "model=vit_tiny")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "budget: how much may it cost?"),
        (["budget=2"], "budget: '2' is not a time"),
        (["budget=0h"], "budget: '0h' is not a time"),
        (["budget=2h", "trials=9"], "budget: is given in two ways"),
        (["budget=2h", "trainer.max_time=01:00:00"], "trainer.max_time=01:00:00: belongs to the study"),
        (["budget=2h", "launcher=slurm"], "budget: minutes cannot be counted"),
        (["trials=1"], "trials: '1' should be a number from 2"),
        (["trials=2"], "trials: 2 plans are fewer than the 3 that are proved"),
        (["trials=9", "seeds=2"], "seeds: '2' should be a number from 3 to 100"),
        (["trials=9", "tune.search=[]"], "tune.search: names nothing"),
        (["trials=9", "tune.search=[mixupp]"], "did you mean mixup"),
        (["trials=9", "tune.search=[mixup.mode]"], "of mixup there are: alpha, p"),
        (["trials=9", "tune.search=[early_stopping]"], "is not searched: it decides when a run ends"),
        (["trials=9", "tune.search=[mixup"], "cannot be read"),
        (["trials=9", "tune.search={a: 1}"], "is not a list of names"),
        (["trials=9", "tune.searh=[mixup]"], "tune.searh: unknown key"),
        (["trials=9", "tune.search=[mixup]", "tune.fix=[mixup]"], "tune.fix: mixup is in tune.search, too"),
        (["trials=9", "tune.objectives=[test/acc]"], "tune.objectives: test/acc is nothing"),
        (["trials=9", "tune.objectives=[gap/loss]", "rungs=2"], "rungs: short runs cannot be ranked"),
        (["trials=9", "seed=3"], "seed=3: belongs to the study"),
        (["trials=9", "run_dir=x"], "run_dir=x: belongs to the study"),
        (["trials=9", "study=a/b"], "study: 'a/b' cannot be the name of a folder"),
        (["trials=9", "--resume"], "--resume: needs the name of a study"),
        (["--resume", "latest"], "--resume: there is no study 'latest'"),
    ],
)
def test_wrong_words_are_refused(words: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refusal:
        parse_tune_args(words)
    assert problem in str(refusal.value)


def test_all_techniques_but_those_that_are_never_searched_can_be_named() -> None:
    names = searchable_names()
    for name in registry.list_plugins("regularizer"):
        assert (name in names) == (not registry.get_plugin("regularizer", name).search_space.why_not)
    assert {"optim.lr", "strength", "weight_decay.rate"} <= set(names)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["tune.search=[patch_dropout]"], "tune.search: patch_dropout"),
        (["tune.search=[class_weights]"], "tune.search: class_weights: it is for imbalanced classes"),
        (["tune.search=[swa]"], "tune.search: swa: cannot run beside early_stopping"),
        (["tune.search=[ema.half_life]"], "ema is not part of the plan, so there is nothing to set"),
        (["tune.search=[mixup]", "regularizer=[mixup]", "tune.fix=[mixup.p,mixup.alpha]", "optim.lr=abc"], "optim.lr"),
        (["model=nothing"], "model: has no option"),
    ],
)
def test_what_does_not_suit_the_run_is_refused_with_exit_code_2(
    words: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        main(["tune", "trials=9", "model.width=4", *words] if "model=nothing" not in words else ["tune", "trials=9", *words]) == 2
    )
    assert problem in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing is left"


def test_an_empty_space_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["regularizer=[mixup]", "model.width=4", "tune.search=[mixup.p]", "regularizer.mixup.p={start:1,end:0}"]
    assert main(["tune", "trials=9", *words]) == 2
    assert "tune.search: mixup.p has no range around its value in this run" in capsys.readouterr().err
    assert main(["tune", "trials=9", f"tune.fix=[{','.join(searchable_names())}]"]) == 2
    assert "tune.search: nothing is left to search" in capsys.readouterr().err


def test_times_are_read() -> None:
    assert [parse_duration(text) for text in ("90s", "2min", "1.5h", "1d", "3 h")] == [90, 120, 5400, 86400, 10800]


def test_a_budget_that_is_too_small_for_the_proof_says_what_would_be_enough() -> None:
    cost = Cost(epoch=6.0, start=4.0)
    budget = Budget(600.0, None, 2, 15)
    with pytest.raises(InputError) as refusal:
        budget.check(cost, (9, 28), 3)
    assert "the proof alone, 15 runs with 3 seeds" in str(refusal.value)
    enough = int(str(refusal.value).split("budget=")[1].split("min")[0])
    Budget(60.0 * enough, None, 2, 15).check(cost, (9, 28), 3)
    with pytest.raises(InputError):
        Budget(60.0 * (enough - 1), None, 2, 15).check(cost, (9, 28), 3)
    Budget(None, 9, 2, 15).check(cost, (9, 28), 3)


def test_with_many_slots_the_proof_takes_whole_rounds_and_a_plan_its_rungs_one_after_the_other() -> None:
    cost, rungs = Cost(epoch=60.0, start=0.0), (5, 15, 45)
    assert Budget(None, 9, 8, 9).proof_seconds(cost, 45) == pytest.approx(1.15 * 2 * 2700), "nine runs on eight slots"
    for minutes, is_enough in ((60, False), (116, False), (117, True)):  # 5 + 15 + 45 for the search, 1.15 * 45 for the proof
        budget = Budget(60.0 * minutes, None, 64, 15)
        if is_enough:
            budget.check(cost, rungs, 3)
        else:
            with pytest.raises(InputError, match="budget=117min"):
                budget.check(cost, rungs, 3)


def test_the_work_is_counted_in_seconds_of_runs() -> None:
    def trial(epochs: int, seconds: float, state: str = "done") -> Trial:
        return Trial(0, 0, epochs, {}, (), state, 1.0, (), seconds, "")  # type: ignore[arg-type]

    before = Cost(10.0, 2.0)
    assert estimate_cost([], before) == before
    trials = [trial(9, 47.0), trial(9, 56.0), trial(28, 142.0), trial(9, 5.0, "failed"), trial(9, 0.0, "running")]
    cost = estimate_cost(trials, before)
    assert cost == Cost(5.0, 2.0)
    assert spent_work(trials, cost) == 47 + 56 + 142 + 5 + 47
    budget = Budget(1000.0, None, 2, 2)
    assert budget.proof_seconds(cost, 28) == pytest.approx(1.15 * 142)
    assert budget.search_work(cost, 28) == pytest.approx(2 * (1000 - 1.15 * 142))
    assert expected_runs(trials, budget, cost, (9, 28)) > len(trials)
    assert expected_runs(trials, Budget(None, 9, 2, 2), cost, (9, 28)) == 12
