"""The results of a study: the content of tune.json, from which the summary and the page are made."""

from collections.abc import Mapping, Sequence
from typing import Any

from regulo.analysis.launchers.runs import PlannedRun
from regulo.analysis.study_record import describe_origin
from regulo.analysis.tuning.importance import importances
from regulo.analysis.tuning.proof import DEFAULT, ProofResult, ProofRun
from regulo.analysis.tuning.search import describe_trials
from regulo.analysis.tuning.study import SearchStudy

METHOD = (
    "Plans were searched on the validation images, with one seed. The best ones, the default plan and none were then trained "
    "again with fresh seeds. The plan with the best validation score of these runs, and the simplest one that is not clearly "
    "worse, were chosen before the test scores were read. Differences are paired by seed; their 95% intervals are simultaneous "
    "over the plans (Dunnett 1955) and over the compared columns (Bonferroni)."
)


def collect(
    study: SearchStudy, command: str, proof: ProofResult | None, runs: Sequence[ProofRun], errors: Mapping[str, str], name: str
) -> dict[str, Any]:
    """The content of tune.json. Numbers are in their own units: a column's `factor` converts them to the unit that is shown."""
    trials = study.trials()
    return {
        **describe_origin(name, command, METHOD),
        "monitor": study.goal.monitor,
        "mode": study.goal.mode,
        "objectives": [study.goal.monitor, *study.others],
        "rungs": list(study.rungs),
        "searched": {key: _describe_domain(domain) for key, domain in study.space.domains().items()},
        "fixed": sorted(study.space.fixed),
        "refused": dict(study.space.refused),
        "trials": describe_trials(trials, study),
        "importance": [vars(i) for i in importances(trials, study.space, study.goal.mode == "min")],
        "seconds": {
            "search": round(sum(trial.seconds for trial in trials), 1),
            "proof": round(sum(_seconds(run) for run in runs), 1),
        },
        "runs": [{"label": run.label, "seed": run.seed, **run.record(errors)} for run in runs],
        "proof": _describe_proof(proof, study) if proof else None,
    }


def _describe_proof(proof: ProofResult, study: SearchStudy) -> dict[str, Any]:
    plans = []
    for plan in proof.plans:
        fresh = proof.mean(plan.label, study.goal.monitor)
        is_whole = plan.trial is not None and plan.trial.epochs == study.rungs[-1]
        plans.append(
            {
                "label": plan.label,
                "techniques": list(plan.techniques),
                "overrides": list(plan.overrides),
                "values": proof.values[plan.label],
                "search_value": plan.trial.value if plan.trial and is_whole else None,
                "fresh_value": fresh,
                "to_default": {key: d.as_dict() for key, d in proof.to_default.get(plan.label, {}).items()},
                "to_best": proof.to_best[plan.label].as_dict() if plan.label in proof.to_best else None,
            }
        )
    return {
        "columns": [vars(column) for column in proof.columns],
        "plans": plans,
        "best": proof.best,
        "recommended": proof.recommended,
    }


def _describe_domain(domain: Any) -> str:
    if hasattr(domain, "options"):
        return "on or off" if domain.options == (False, True) else " or ".join(map(str, domain.options))
    return f"{domain.low:.3g} to {domain.high:.3g}" + (", log scale" if domain.log else "")


def _seconds(run: PlannedRun) -> float:
    return float(run.result().get("fit_seconds") or 0.0)


def recommended_plan(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """What tune.json has of the recommended plan; None without a proof."""
    proof = record["proof"]
    return next((plan for plan in proof["plans"] if plan["label"] == proof["recommended"]), None) if proof else None


def winners_curse(record: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Plans with a whole run in the search: label, monitor in the search, mean monitor of the fresh runs."""
    plans = record["proof"]["plans"] if record["proof"] else []
    return [
        (plan["label"], plan["search_value"], plan["fresh_value"])
        for plan in plans
        if plan["label"] != DEFAULT and plan["search_value"] is not None and plan["fresh_value"] is not None
    ]
