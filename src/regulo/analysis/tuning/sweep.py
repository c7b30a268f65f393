"""The search space as a W&B sweep, for those who prefer its agents: each agent calls `regulo train`.

A sweep knows no rules. So techniques that the run lacks are added in sets that may run together, and only numbers of techniques
that every run of the sweep has are searched.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from regulo.analysis.tuning.space import PlanSpace
from regulo.core.program import PROGRAM
from regulo.core.safe_io import dump_yaml
from regulo.core.search_space import Choice, Domain
from regulo.regularizers.base import Goal
from regulo.regularizers.components.plan import find_conflicts


def sweep_yaml(space: PlanSpace, base: Sequence[str], goal: Goal) -> str:
    """The text of a sweep file: `wandb sweep FILE`, then `wandb agent ID`."""
    parameters: dict[str, Any] = {key: _describe(domain) for key, domain in space.values.items()}
    for name, technique in space.techniques.items():
        if name in space.base:
            parameters |= {f"regularizer.{name}.{key}": _describe(domain) for key, domain in technique.fields.items()}
    if additions := list_additions(space):
        parameters["+regularizer"] = {"values": additions}
    content = {
        "command": [PROGRAM, "train", *_without_logger(base), "logger=wandb_online", "${args_no_hyphens}"],
        "method": "bayes",
        "metric": {"name": goal.monitor, "goal": "minimize" if goal.mode == "min" else "maximize"},
        "parameters": parameters,
    }
    return f"# Written by regulo tune: wandb sweep THIS_FILE, then wandb agent with the name that it prints\n{dump_yaml(content)}"


def list_additions(space: PlanSpace) -> list[str]:
    """Options of `+regularizer=`: nothing, each technique that the run lacks, and each two that may run together."""
    new = [name for name in space.switches() if name not in space.base]
    present = list(space.base.values())
    sets = [names for n in (1, 2) for names in itertools.combinations(new, n)]
    allowed = [
        s for s in sets if not find_conflicts([*present, *(space.techniques[n].technique for n in s)], space.run_conditions)
    ]
    return ["none", *(f"[{','.join(names)}]" for names in allowed)] if allowed else []


def _describe(domain: Domain) -> dict[str, Any]:
    """A domain as W&B writes it."""
    if isinstance(domain, Choice):
        return {"values": list(domain.options)}
    kind = "int_uniform" if domain.is_whole else "log_uniform_values" if domain.log else "uniform"
    return {"distribution": kind, "min": domain.low, "max": domain.high}


def _without_logger(words: Sequence[str]) -> list[str]:
    return [word for word in words if not word.startswith("logger=")]
