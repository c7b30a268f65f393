"""What the proof says: the simplest plan that is not clearly worse, by validation; the test scores only report."""

import json
from pathlib import Path
from typing import Any

import pytest

from regulo.analysis.tuning.proof import DEFAULT, NONE, ProofPlan, ProofRun, evaluate_proof
from regulo.analysis.tuning.search import best_trials
from regulo.analysis.tuning.study import Trial
from regulo.regularizers.base import Goal
from tests.fake_runs import make_result

GOAL = Goal("val/loss", "min")
PLANS = [
    ProofPlan(DEFAULT, (), ("augment", "mixup"), None),
    ProofPlan(NONE, (), (), None),
    ProofPlan("plan 3", (), ("augment",), None),
    ProofPlan("plan 7", (), ("augment", "ema", "mixup"), None),
]
LUCK = (0.004, -0.002, 0.001)


def make_runs(root: Path, losses: dict[str, float], noise: float = 0.001, **others: dict[str, float]) -> list[ProofRun]:
    """Runs with these validation losses, and other numbers by key and plan."""
    runs = []
    for seed in (1, 2, 3):
        for i, (label, loss) in enumerate(losses.items()):
            run = ProofRun(root / f"{label}-{seed}", (), label, seed)
            run.folder.mkdir(parents=True)
            value = loss + LUCK[seed - 1] + noise * ((seed * 5 + i * 3) % 7 - 3) / 3
            numbers = {"val/loss": value, "test/acc": 1 - value, "test/loss": value, "epoch_seconds": 1.0 + i}
            extra = {key.replace("_", "/"): values[label] for key, values in others.items()}
            (run.folder / "result.json").write_text(json.dumps(make_result(run.name) | {"seed": seed} | numbers | extra))
            runs.append(run)
    return runs


def evaluate(tmp_path: Path, *losses: float, **options: Any) -> Any:
    labels = [plan.label for plan in PLANS]
    return evaluate_proof(PLANS, make_runs(tmp_path, dict(zip(labels, losses, strict=True)), **options), GOAL)


def test_the_best_plan_is_recommended_if_all_simpler_ones_are_clearly_worse(tmp_path: Path) -> None:
    result = evaluate(tmp_path, 0.5, 0.7, 0.45, 0.4)
    assert result.best == result.recommended == "plan 7"
    difference = result.to_default["plan 7"]["test/acc"]
    assert difference.n == 3
    assert difference.mean == pytest.approx(0.1, abs=0.002)
    assert difference.significant


def test_the_simplest_plan_that_is_not_clearly_worse_is_recommended(tmp_path: Path) -> None:
    result = evaluate(tmp_path, 0.5, 0.7, 0.4004, 0.4)
    assert (result.best, result.recommended) == ("plan 7", "plan 3")


def test_none_is_recommended_if_nothing_helps(tmp_path: Path) -> None:
    result = evaluate(tmp_path, 0.4002, 0.4001, 0.4003, 0.4)
    assert result.recommended == NONE


def test_the_test_scores_do_not_choose(tmp_path: Path) -> None:
    """The plan that is best on the test images by far is not taken if validation says otherwise."""
    first = evaluate(tmp_path / "a", 0.5, 0.7, 0.45, 0.4)
    acc = dict.fromkeys((plan.label for plan in PLANS), 0.5) | {NONE: 0.99}
    second = evaluate(tmp_path / "b", 0.5, 0.7, 0.45, 0.4, test_acc=acc)
    assert first.recommended == second.recommended
    assert second.to_default[NONE]["test/acc"].mean == pytest.approx(0.49)


def remove_results(runs: list[ProofRun], *names: tuple[str, int]) -> None:
    """Let these runs, by label and seed, be runs that have not ended well."""
    for run in runs:
        if (run.label, run.seed) in names:
            (run.folder / "result.json").unlink()


def test_only_plans_that_ended_well_with_every_seed_can_be_recommended(tmp_path: Path) -> None:
    labels = [plan.label for plan in PLANS]
    runs = make_runs(tmp_path, dict(zip(labels, (0.5, 0.7, 0.45, 0.1), strict=True)))
    remove_results(runs, ("plan 7", 1), ("plan 7", 2))
    result = evaluate_proof(PLANS, runs, GOAL)
    assert result
    assert [plan.label for plan in result.plans] == labels, "its one run is shown"
    assert (result.best, result.recommended) == ("plan 3", "plan 3")
    assert "plan 7" not in result.to_default
    remove_results(runs, ("plan 3", 2), (NONE, 3))
    assert evaluate_proof(PLANS, runs, GOAL) is None, "only the default plan is left"


def test_without_the_default_plan_the_others_are_compared(tmp_path: Path) -> None:
    labels = [plan.label for plan in PLANS]
    runs = make_runs(tmp_path, dict(zip(labels, (0.5, 0.7, 0.45, 0.4), strict=True)))
    remove_results(runs, (DEFAULT, 2))
    result = evaluate_proof(PLANS, runs, GOAL)
    assert result
    assert result.recommended == "plan 7"
    assert all(not differences for differences in result.to_default.values())


def test_of_plans_with_as_many_techniques_the_default_is_simplest_and_time_does_not_choose(tmp_path: Path) -> None:
    def choose(name: str, losses: tuple[float, ...], seconds: tuple[float, ...]) -> str:
        labels = (DEFAULT, "plan 1", "plan 2")
        runs = make_runs(tmp_path / name, dict(zip(labels, losses, strict=True)))
        for run in runs:
            file = run.folder / "result.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | {"epoch_seconds": seconds[labels.index(run.label)]}))
        result = evaluate_proof([ProofPlan(label, (), ("mixup",), None) for label in labels], runs, GOAL)
        assert result
        return result.recommended

    assert choose("close", (0.4002, 0.4, 0.4001), (1.1, 1.0, 1.0)) == DEFAULT
    assert choose("clear", (0.6, 0.4, 0.401), (1.0, 1.1, 1.0)) == "plan 1"


def test_longer_runs_rank_before_shorter_ones() -> None:
    def trial(plan: int, epochs: int, value: float, state: Any = "done") -> Trial:
        return Trial(plan, plan, epochs, {}, (), state, value, (), 1.0, "")

    trials = [trial(0, 3, 0.1), trial(1, 3, 0.5), trial(1, 9, 0.4), trial(2, 9, 0.3), trial(3, 9, 0.0, "diverged")]
    assert [(t.plan, t.epochs) for t in best_trials(trials, minimize=True)] == [(2, 9), (1, 9), (0, 3)]
    assert [t.plan for t in best_trials(trials, minimize=False)] == [1, 2, 0]


def test_with_several_objectives_plans_that_another_one_beats_in_all_come_last() -> None:
    values = [(0.3, 9.0), (0.4, 2.0), (0.35, 10.0), (0.9, 1.0), (0.95, 1.5)]
    trials = [Trial(i, i, 9, {}, (), "done", loss, (seconds,), 1.0, "") for i, (loss, seconds) in enumerate(values)]
    assert [t.plan for t in best_trials(trials, minimize=True)] == [0, 1, 3, 2, 4]
