"""The journal of a study: nothing is lost or repeated when processes are killed, or when several share it."""

import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from regulo.analysis.tuning.journal import cut_torn_line
from regulo.analysis.tuning.rungs import find_promotion, list_rungs, mean_epochs
from regulo.analysis.tuning.space import PlanSpace, build_space
from regulo.analysis.tuning.study import SearchStudy, Trial
from regulo.analysis.tuning.suitability import default_technique
from regulo.config import compose
from regulo.regularizers.base import Goal

MIN = Goal("val/loss", "min")
RUNGS = (3, 9, 27)


def small_space() -> PlanSpace:
    config = compose.load_config(["regularizer=[mixup]"])
    candidates = {name: config.regularizer.get(name) or default_technique(name) for name in ("mixup", "ema", "label_smoothing")}
    return build_space(config, candidates, {}, None, [])


def open_study(root: Path, goal: Goal = MIN, rungs: tuple[int, ...] = RUNGS) -> SearchStudy:
    root.mkdir(exist_ok=True)
    space = small_space()
    return SearchStudy(root, space, rungs, goal, 0, space.params_of_base())


def up_to(study: SearchStudy, plans: int) -> Any:
    return lambda epochs, is_new: not is_new or study.num_plans() < plans


def value_of(trial: Trial) -> float:
    return 1.0 - 0.3 * bool(trial.params["ema"]) + 1 / trial.epochs + trial.params["optim.lr"] / 100


def work(study: SearchStudy, plans: int, most: int = 1000) -> list[Trial]:
    """Finish runs as long as there are any; returns them."""
    ended = []
    while len(ended) < most and (trial := study.next_trial(up_to(study, plans))):
        study.finish(trial, "done", value_of(trial), 1.0)
        ended.append(trial)
    return ended


def test_rungs_are_whole_runs_each_a_third_of_the_next() -> None:
    assert list_rungs(28) == (9, 28)
    assert list_rungs(66) == (7, 22, 66)
    assert list_rungs(300) == (33, 100, 300)
    assert list_rungs(28, 1) == (28,)
    assert list_rungs(2, 3) == (1, 2)
    assert mean_epochs((9, 27)) == 9 + 27 / 3


def test_the_best_third_goes_on_as_soon_as_it_is_known() -> None:
    values = {3: {0: 0.5, 1: 0.4, 2: 0.9}}
    assert find_promotion(RUNGS, values, {3: {0, 1, 2}}, minimize=True) == (1, 9)
    assert find_promotion(RUNGS, values, {3: {0, 1, 2}}, minimize=False) == (2, 9)
    assert find_promotion(RUNGS, values, {9: {1}}, minimize=True) is None, "it has a run there"
    assert find_promotion(RUNGS, {3: {0: 0.5, 1: 0.4}}, {}, minimize=True) is None, "too few to know the best third"
    values[9] = {1: 0.4, 5: 0.2, 7: 0.3}
    assert find_promotion(RUNGS, values, {9: {1, 5, 7}}, minimize=True) == (5, 27), "the longest run first"


def test_the_default_plan_is_first_and_the_search_finds_what_helps(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    trials = work(study, 27)
    assert trials[0].params == study.space.params_of_base()
    assert trials[0].overrides == ()
    epochs = Counter(trial.epochs for trial in trials)
    assert epochs == {3: 27, 9: 9, 27: 3}
    assert all(trial.params["ema"] for trial in trials if trial.epochs == 27)
    late = [trial for trial in trials if trial.epochs == 3][12:]
    assert sum(trial.params["ema"] for trial in late) >= 0.7 * len(late), "the sampler has learned"
    assert work(study, 27) == [], "nothing is repeated"


def test_a_study_that_is_opened_again_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole = [(t.params, t.epochs) for t in work(open_study(tmp_path / "whole"), 20)]
    parts: list[Any] = []
    for n in (3, 1, 9, 100):
        parts += [(t.params, t.epochs) for t in work(open_study(tmp_path / "parts"), 20, n)]
    assert parts == whole


def test_runs_of_a_process_that_is_no_more_are_taken_over_once(tmp_path: Path) -> None:
    dead = open_study(tmp_path)
    with dead.ownership():
        first = dead.next_trial(up_to(dead, 9))
        living = open_study(tmp_path)
        other = living.next_trial(up_to(living, 9))
        assert first
        assert other
        assert other.number != first.number, "its owner lives"
    heir = open_study(tmp_path)
    with heir.ownership():
        again = {heir.next_trial(up_to(heir, 9)).number for _ in range(2)}  # type: ignore[union-attr]
        assert first.number in again
        assert other.number in again, "`living` had no lock"
        third = heir.next_trial(up_to(heir, 9))
        assert third
        assert third.number not in again
    heir.finish(first, "done", 1.0, 1.0)
    dead.finish(first, "done", 2.0, 1.0)
    assert next(t for t in heir.trials() if t.number == first.number).value == 1.0, "the first word counts"


def test_a_diverged_run_is_the_worst_and_a_failed_one_says_nothing(tmp_path: Path) -> None:
    for mode, worst in (("min", float("inf")), ("max", float("-inf"))):
        study = open_study(tmp_path / mode, Goal("val/acc", mode))  # type: ignore[arg-type]
        outcomes = ("diverged", "failed", "done", "done", "done")
        for outcome in outcomes:
            trial = study.next_trial(up_to(study, 5))
            assert trial
            study.finish(trial, outcome, 0.5 if outcome == "done" else None, 1.0, "because")  # type: ignore[arg-type]
        states = {t.state: t for t in study.trials()}
        assert states["diverged"].value == worst
        assert states["failed"].value is None
        assert states["failed"].error == "because"
        promotions = [t.plan for t in work(study, 9) if t.epochs > 3]
        assert promotions
        assert not {states["diverged"].plan, states["failed"].plan} & set(promotions)


def test_equal_plans_are_not_run_twice_and_a_small_space_is_exhausted(tmp_path: Path) -> None:
    config = compose.load_config(["regularizer=none"])
    candidates = {name: default_technique(name) for name in ("bce", "weight_standardization")}
    space = build_space(config, candidates, {}, list(candidates), [])
    study = SearchStudy(tmp_path, space, (3,), MIN, 0, space.params_of_base())
    ended = []
    while trial := study.next_trial(up_to(study, 50)):
        study.finish(trial, "done", 1.0, 1.0)
        ended.append(trial.overrides)
    assert len(ended) == len(set(ended)) == 4
    assert study.exhausted


def test_a_longer_run_that_failed_is_tried_once_more(tmp_path: Path) -> None:
    study, longer = open_study(tmp_path), []
    while trial := study.next_trial(up_to(study, 6)):
        study.finish(trial, "done" if trial.epochs == 3 else "failed", value_of(trial), 1.0)
        longer += [trial] * (trial.epochs > 3)
    assert [len(list(group)) for _, group in itertools.groupby(trial.plan for trial in longer)] == [2, 2]


class KilledError(Exception):
    pass


@pytest.mark.parametrize("moment", ["before its run is written down", "before a copy has its result"])
def test_a_kill_while_a_plan_is_drawn_loses_nothing(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose.load_config(["regularizer=none"])
    candidates = {name: default_technique(name) for name in ("bce", "weight_standardization")}
    space = build_space(config, candidates, {}, list(candidates), [])

    def kill(*_: Any) -> Any:
        raise KilledError

    def make() -> SearchStudy:
        return SearchStudy(tmp_path, space, (3,), MIN, 0, space.params_of_base())

    killed, ended = make(), []
    with monkeypatch.context() as patch, contextlib.suppress(KilledError):
        if moment.startswith("before a copy"):
            patch.setattr(SearchStudy, "_finish_copy", kill)
        else:
            patch.setattr(PlanSpace, "draw", kill)
        while trial := killed.next_trial(up_to(killed, 50)):
            killed.finish(trial, "done", 1.0, 1.0)
            ended.append(trial.overrides)
    heir = make()
    while trial := heir.next_trial(up_to(heir, 50)):
        heir.finish(trial, "done", 1.0, 1.0)
        ended.append(trial.overrides)
    assert ended[0] == (), "the default plan is the first"
    assert len(ended) == len(set(ended)) == 4
    assert not [trial for trial in heir.trials() if trial.state == "running"]


def test_a_torn_line_of_the_journal_is_cut_off(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    work(study, 5)
    journal = tmp_path / "journal.log"
    lines = journal.read_bytes()
    with journal.open("ab") as file:
        file.write(b'{"op_code": 5, "wor')  # a kill, or a full disk
    again = open_study(tmp_path)
    assert journal.read_bytes().startswith(lines + b'{"op_code"')
    assert b'"wor{' not in journal.read_bytes()
    assert len(work(again, 8)) >= 3
    assert all(json.loads(line) for line in journal.read_text().splitlines())
    cut_torn_line(tmp_path / "absent")
    (tmp_path / "one").write_bytes(b"no end")
    cut_torn_line(tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == b""


def share_study(root: Path, plans: int, kill_after: int) -> None:
    study = open_study(root)
    (root / f"ready-{os.getpid()}").touch()
    while len(list(root.glob("ready-*"))) < 4:
        time.sleep(0.1)
    with study.ownership():
        for _ in range(1000):
            if not (trial := study.next_trial(up_to(study, plans))):
                break
            with (root / "ran.txt").open("a") as file:
                file.write(f"{trial.run_name}\n")
            kill_after -= 1
            if not kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
            study.finish(trial, "done", value_of(trial), 1.0)


@pytest.mark.long
def test_processes_share_a_study_and_some_are_killed(tmp_path: Path) -> None:
    """What ran and was not written down runs again; everything else once."""
    root, context = tmp_path / "study", multiprocessing.get_context("spawn")
    root.mkdir()
    kills = (4, 7, 0, 0)
    processes = [context.Process(target=share_study, args=(root, 30, kill)) for kill in kills]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(process.exitcode or 0 for process in processes) == [-9, -9, 0, 0]
    study = open_study(root)
    rest = work(study, 30)
    names = [*(root / "ran.txt").read_text().splitlines(), *(trial.run_name for trial in rest)]
    counts = Counter(names)
    assert sum(count == 2 for count in counts.values()) <= 2
    assert max(counts.values()) <= 2
    trials = [trial for trial in study.trials() if trial.state != "copy"]
    assert all(trial.state == "done" for trial in trials)
    assert len({trial.plan for trial in trials}) == 30
    assert len({trial.run_name for trial in trials}) == len(trials)


def test_several_objectives_are_told_and_a_diverged_run_is_the_worst_in_all(tmp_path: Path) -> None:
    space = small_space()
    study = SearchStudy(tmp_path, space, (9,), MIN, 0, space.params_of_base(), ["epoch_seconds"])
    for i in range(16):
        trial = study.next_trial(up_to(study, 16))
        assert trial
        study.finish(trial, "diverged" if i == 3 else "done", value_of(trial), 1.0, others=[float(i)])
    trials = study.trials()
    assert [t.others for t in trials] == [(float("inf"),) if i == 3 else (float(i),) for i in range(16)]
    assert study.next_trial(up_to(study, 16)) is None
