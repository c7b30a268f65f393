"""The search of a study: which run comes next, and what is known of all runs so far.

Everything is in the journal, so a process that is killed loses nothing, and several processes can share a study. A run is one
trial of Optuna. Its plan is that of its first trial: a plan that goes on to a longer rung has another trial with the same
parameters. Trials of shorter rungs end as `PRUNED`, which Optuna's sampler ranks behind those of longer rungs.
"""

import contextlib
import functools
import math
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from regulo.analysis.tuning.journal import open_journal
from regulo.analysis.tuning.rungs import find_promotion
from regulo.analysis.tuning.space import Params, PlanSpace
from regulo.core.files import file_lock
from regulo.core.search_space import Choice, Domain
from regulo.regularizers.base import Goal

FIRST_DRAWS = 12
"""runs that must have ended before the sampler learns from them; until then plans are drawn from the priors"""
MAX_COPIES = 30
"""draws of plans that have been drawn before, after which the space counts as exhausted"""
RUN, END, OWNER = "run", "end", "owner"
"""what the journal keeps with a trial: the run, how it ended, and the process that makes it"""
LOCK, OWNERS = ".search.lock", "owners"
"""the file that is locked while a run is chosen or ends; the folder with a file for each process, which it keeps locked"""
Outcome = Literal["done", "diverged", "failed"]


@dataclass(frozen=True)
class Trial:
    """A run of the search."""

    number: int
    plan: int
    """the number of the first trial with these parameters"""
    epochs: int
    params: Params
    overrides: tuple[str, ...]
    state: Literal["running", "done", "diverged", "failed", "copy"]
    value: float | None
    """the monitor at the end of the run; None if it has not ended well"""
    others: tuple[float, ...]
    """the other objectives, all of which are better low; empty with one objective"""
    seconds: float
    error: str

    @property
    def run_name(self) -> str:
        """The name of the run's folder."""
        return f"plan-{self.plan:03d}-{self.epochs}-epochs"


class SearchStudy:
    """The trials of a study, in the folder `root`.

    rungs: epochs of each rung. seed: of the draws. default: the parameters of the plan that is tried first. others: objectives
    besides the monitor; with some, there is one rung, because Optuna cannot rank unfinished runs by several objectives.
    """

    def __init__(
        self,
        root: Path,
        space: PlanSpace,
        rungs: Sequence[int],
        goal: Goal,
        seed: int,
        default: Params | None,
        others: Sequence[str] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.root, self.space, self.rungs, self.goal, self.seed, self.default = root, space, tuple(rungs), goal, seed, default
        self.others = tuple(others)
        self.owner = uuid.uuid4().hex
        self.exhausted = False
        self.study = optuna.create_study(
            storage=open_journal(root / "journal.log"),
            study_name="tune",
            directions=["minimize" if goal.mode == "min" else "maximize", *["minimize"] * len(others)],
            load_if_exists=True,
        )

    @contextlib.contextmanager
    def ownership(self) -> Iterator[None]:
        """Within: the runs that this process has begun belong to it. After it, however it ends, others may go on with them."""
        file = self.root / OWNERS / self.owner
        with contextlib.ExitStack() as stack:
            with file_lock(self.root / LOCK):  # nobody looks whether it is locked until it is
                stack.enter_context(file_lock(file))
            yield
        file.unlink(missing_ok=True)

    def other_owners(self) -> set[str]:
        """The other processes that are at work on this study."""
        with file_lock(self.root / LOCK):
            return self._other_owners()

    def _other_owners(self) -> set[str]:
        owners = set()
        for file in (self.root / OWNERS).glob("*"):
            if file.name == self.owner:
                continue
            try:
                with file_lock(file, wait=False):
                    file.unlink(missing_ok=True)
            except BlockingIOError:
                owners.add(file.name)
        return owners

    # ---- what is known

    def trials(self) -> list[Trial]:
        """All runs that have begun."""
        return [_read_trial(t) for t in self._frozen() if RUN in t.user_attrs]

    def _frozen(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def num_plans(self) -> int:
        """The number of plans that have been tried."""
        return len({trial.plan for trial in self.trials() if trial.state != "copy"})

    # ---- what comes next

    def next_trial(self, may_start: Callable[[int, bool], bool]) -> Trial | None:
        """The run that comes next, which belongs to this process now; None if there is none at the moment.

        may_start(epochs, is_new): whether a run of so many epochs, of a new plan or not, may start.
        """
        with file_lock(self.root / LOCK):
            while trial := self._adopt() or self._promote(may_start) or self._draw(may_start):
                if trial.state != "copy":
                    return trial
            return None

    def _adopt(self) -> Trial | None:
        """A run that a process has begun which is no more."""
        owners = self._other_owners() | {self.owner}
        for frozen in self._frozen():
            if frozen.state == TrialState.RUNNING and frozen.user_attrs.get(OWNER) not in owners:
                if RUN not in frozen.user_attrs:  # it was killed while it drew, and nothing has run
                    self.study.tell(frozen.number, state=TrialState.FAIL)
                    continue
                if "copy_of" in frozen.user_attrs[RUN]:  # it was killed before it had the result of the other run
                    self._finish_copy(frozen.number)
                    continue
                self._set(frozen.number, OWNER, self.owner)
                return _read_trial(frozen)
            if frozen.state == TrialState.WAITING:
                return self._begin(frozen.user_attrs.get("epochs", self.rungs[0]), frozen.user_attrs.get("plan"))
        return None

    def _promote(self, may_start: Callable[[int, bool], bool]) -> Trial | None:
        """The best plan of a rung, in a longer run."""
        values: dict[int, dict[int, float]] = {epochs: {} for epochs in self.rungs}
        promoted: dict[int, set[int]] = {epochs: set() for epochs in self.rungs}
        params: dict[int, Params] = {}
        failures = Counter((trial.epochs, trial.plan) for trial in self.trials() if trial.state == "failed")
        for frozen in self._frozen():
            if RUN in frozen.user_attrs and (trial := _read_trial(frozen)).state != "copy":
                params[trial.plan] = frozen.params
                if trial.state != "failed" or failures[trial.epochs, trial.plan] > 1:  # a longer run that failed has a second try
                    promoted.setdefault(trial.epochs, set()).add(trial.plan)
                if trial.value is not None:
                    values.setdefault(trial.epochs, {})[trial.plan] = trial.value
        promotion = find_promotion(self.rungs, values, promoted, self.goal.mode == "min")
        if promotion is None or not may_start(promotion[1], False):
            return None
        plan, epochs = promotion
        return self._enqueue(params[plan], epochs, plan)

    def _draw(self, may_start: Callable[[int, bool], bool]) -> Trial | None:
        """A new plan: the default one, then draws from the priors, then those of the sampler."""
        copies = 0
        while not self.exhausted and may_start(self.rungs[0], True):
            number = len(self._frozen())
            num_ended = sum(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in self._frozen())
            if self.default is not None and not self.trials():
                trial = self._enqueue(self.default, self.rungs[0], None)
            elif num_ended < FIRST_DRAWS:
                rng = np.random.default_rng([self.seed, number])
                trial = self._enqueue(self.space.draw_from_prior(rng, number), self.rungs[0], None)
            else:
                trial = self._begin(self.rungs[0], None)
            if trial.state != "copy":
                return trial
            copies += 1
            self.exhausted = copies >= MAX_COPIES
        return None

    def _enqueue(self, params: Params, epochs: int, plan: int | None) -> Trial:
        """Begin a run with these parameters."""
        attributes = {"epochs": epochs} | ({} if plan is None else {"plan": plan})
        self.study.enqueue_trial(params, user_attrs=attributes)
        return self._begin(epochs, plan)

    def _begin(self, epochs: int, plan: int | None) -> Trial:
        """Begin a run with the parameters that wait, or else with those that the sampler suggests."""
        earlier = {t.overrides: t for t in self.trials() if t.state not in ("copy", "failed") and t.epochs == epochs}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `group` is experimental
            self.study.sampler = optuna.samplers.TPESampler(
                seed=10_007 * self.seed + len(self._frozen()),
                n_startup_trials=FIRST_DRAWS,
                multivariate=True,
                group=True,
                constant_liar=True,
            )
            asked = self.study.ask()
            asked.set_user_attr(OWNER, self.owner)
            plan = asked.number if plan is None else plan
            params = self.space.draw(functools.partial(_suggest, asked), plan)
        overrides = tuple(self.space.overrides_of(params))
        copied = earlier.get(overrides)
        run = {"plan": plan, "epochs": epochs, "params": params, "overrides": list(overrides)}
        self._set(asked.number, RUN, run | ({} if copied is None else {"copy_of": copied.number}))
        if copied is not None:  # the same run would come to the same result
            self._finish_copy(asked.number)
        return _read_trial(self._frozen()[asked.number])

    def _finish_copy(self, number: int) -> None:
        """Write down the result of a trial whose run another trial has made."""
        original = _read_trial(self._frozen()[self._frozen()[number].user_attrs[RUN]["copy_of"]])
        self._tell(number, original.epochs, original.value, original.others)

    # ---- what came of it

    def finish(
        self,
        trial: Trial,
        outcome: Outcome,
        value: float | None,
        seconds: float,
        error: str = "",
        others: Sequence[float] = (),
    ) -> None:
        """Write down how a run has ended. A loss that was not finite is the worst result; any other failure is none."""
        with file_lock(self.root / LOCK):
            if self._frozen()[trial.number].state != TrialState.RUNNING:
                return  # another process has taken it for abandoned
            self._set(trial.number, END, {"outcome": outcome, "seconds": seconds, "error": error})
            worst = math.inf if self.goal.mode == "min" else -math.inf
            if outcome == "diverged":
                value, others = worst, [math.inf] * len(self.others)
            self._tell(trial.number, trial.epochs, None if outcome == "failed" else value, others)

    def _tell(self, number: int, epochs: int, value: float | None, others: Sequence[float]) -> None:
        if value is None:
            self.study.tell(number, state=TrialState.FAIL)
        elif epochs == self.rungs[-1]:
            self.study.tell(number, [value, *others])
        else:
            trial_id = self._frozen()[number]._trial_id
            self.study._storage.set_trial_intermediate_value(trial_id, epochs, value)
            self.study.tell(number, state=TrialState.PRUNED)

    def _set(self, number: int, key: str, value: Any) -> None:
        self.study._storage.set_trial_user_attr(self._frozen()[number]._trial_id, key, value)


def _suggest(trial: optuna.Trial, name: str, domain: Domain) -> Any:
    """The value of a parameter, as Optuna suggests it."""
    if isinstance(domain, Choice):
        return trial.suggest_categorical(name, domain.options)
    if domain.is_whole:
        return trial.suggest_int(name, int(domain.low), int(domain.high), log=domain.log)
    return trial.suggest_float(name, domain.low, domain.high, log=domain.log)


def _read_trial(frozen: FrozenTrial) -> Trial:
    run: Mapping[str, Any] = frozen.user_attrs[RUN]
    end: Mapping[str, Any] = frozen.user_attrs.get(END, {})
    is_finished = frozen.state.is_finished()
    values = [*frozen.intermediate_values.values()][-1:] or frozen.values or [None]
    return Trial(
        frozen.number,
        run["plan"],
        run["epochs"],
        run["params"],
        tuple(run["overrides"]),
        "copy" if "copy_of" in run else end.get("outcome", "failed") if is_finished else "running",
        values[0] if is_finished else None,
        tuple(values[1:]),
        end.get("seconds", 0.0),
        end.get("error", ""),
    )
