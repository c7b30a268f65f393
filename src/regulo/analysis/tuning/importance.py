"""Which choices mattered in the search: PED-ANOVA (Watanabe et al., 2023, arXiv:2304.10255) with bootstrap intervals.

It asks how much the distribution of a choice among the best quarter of the plans differs from that among all plans. The runs of
the shortest rung are used, because every plan has one. The intervals say how much the shares would change with other plans; with
few plans they are wide.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from regulo.analysis.tuning.space import PlanSpace
from regulo.analysis.tuning.study import Trial
from regulo.core.search_space import Between

MIN_PLANS = 12
"""plans without which nothing is said"""
RESAMPLES = 100
QUANTILE = 0.25
"""share of the plans that count as the best"""


@dataclass(frozen=True)
class Importance:
    """The share of a choice in the difference between the best plans and all."""

    name: str
    share: float
    low: float
    high: float


def importances(trials: Sequence[Trial], space: PlanSpace, minimize: bool, seed: int = 0) -> list[Importance]:
    """The importance of each technique that was on in some plans and off in others, and of each number that all plans have.

    Empty if too few plans have ended. The largest comes first. Intervals: 90%, from bootstrap samples of the plans.
    """
    shortest = min((t.epochs for t in trials), default=0)
    ended = [t for t in trials if t.epochs == shortest and t.value is not None and math.isfinite(t.value) and t.state == "done"]
    if len(ended) < MIN_PLANS:
        return []
    names = [n for n in space.switches() if 0 < sum(bool(t.params.get(n)) for t in ended) < len(ended)]
    names += [k for k, d in space.values.items() if isinstance(d, Between) and len({t.params[k] for t in ended}) > 1]
    if not names:
        return []
    shares = _shares(ended, names, space, minimize)
    rng = np.random.default_rng(seed)
    samples = [
        _shares([ended[i] for i in rng.integers(len(ended), size=len(ended))], names, space, minimize) for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(np.array([[s[n] for n in names] for s in samples]), (0.05, 0.95), axis=0)
    result = [Importance(n, shares[n], float(low[i]), float(high[i])) for i, n in enumerate(names)]
    return sorted(result, key=lambda importance: -importance.share)


def _shares(trials: Sequence[Trial], names: Sequence[str], space: PlanSpace, minimize: bool) -> dict[str, float]:
    """The importance of each name; all together are 1."""
    distributions: dict[str, optuna.distributions.BaseDistribution] = {}
    for name in names:
        domain = space.values.get(name)
        if isinstance(domain, Between):
            values = [float(trial.params[name]) for trial in trials]  # rounded, and so perhaps outside of the range
            low, high = min(domain.low, *values), max(domain.high, *values)
            distributions[name] = optuna.distributions.FloatDistribution(low, high, log=domain.log)
        else:
            distributions[name] = optuna.distributions.CategoricalDistribution((False, True))
    study = optuna.create_study(direction="minimize" if minimize else "maximize")
    for trial in trials:
        params = {n: trial.params[n] if n in space.values else bool(trial.params.get(n)) for n in names}
        study.add_trial(create_trial(params=params, distributions=distributions, value=trial.value))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=QUANTILE)
    found = get_param_importances(study, evaluator=evaluator, params=list(names))
    return {name: max(0.0, found.get(name, 0.0)) for name in names}
