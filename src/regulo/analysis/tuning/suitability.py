"""Which techniques suit a run: those for which the model has a site, and the data or the weights give a reason."""

import copy
from collections.abc import Collection
from typing import Any

from regulo.config.schema import Config
from regulo.core import registry, yaml_files
from regulo.core.errors import InputError
from regulo.core.safe_io import read_yaml
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.plan import Plan

IMBALANCE = 2.0
"""images of the largest class for each one of the smallest, from which on the techniques for imbalanced classes are tried"""


def suitable_techniques(config: Config, names: Collection[str]) -> tuple[dict[str, Regularizer], dict[str, str]]:
    """Those of these techniques that suit a run, with the values of its plan or of their files; and why the others do not.

    Raises InputError if the data cannot be opened, or the model cannot be built.
    """
    from regulo.data.components.record import open_splits
    from regulo.evaluation.restore import without_input_checks
    from regulo.training.imbalance import imbalance

    config = config.take_input_of_weights()[0]
    splits, record = open_splits(config.data)
    has_weights = bool(config.model.weights)
    ratio = imbalance(record.images["train"])
    model = without_input_checks(config).model.build(splits.dataset_info)
    suitable, refused = {}, {}
    for name in names:
        technique = config.regularizer.get(name) or default_technique(name)
        space = type(technique).search_space
        if space.why_not:
            refused[name] = space.why_not
        elif space.condition == "pretrained weights" and not has_weights:
            refused[name] = "it is for a model with pretrained weights"
        elif space.condition == "imbalanced classes" and ratio < IMBALANCE:
            refused[name] = f"it is for imbalanced classes, and the largest has {ratio:.3g} times the images of the smallest"
        elif reason := _misfit(technique, copy.deepcopy(model), splits.dataset_info):
            refused[name] = reason
        else:
            suitable[name] = technique
    return suitable, refused


def default_technique(name: str) -> Regularizer:
    """A technique with the values of its YAML file. Raises InputError if the file is not valid."""
    file = yaml_files.find_option("regularizer", name)
    content: Any = (read_yaml(file, "regularizer") or {}) if file.is_file() else {}
    cls = registry.get_plugin("regularizer", name)
    technique: Regularizer = cls(**(content.get(name) or {}))
    return technique


def _misfit(technique: Regularizer, model: Any, dataset_info: Any) -> str:
    """Why a technique does not fit a model; empty if it does. The model is changed."""
    try:
        plan = Plan([technique])
        plan.param_groups(plan.surgery(model, dataset_info))
    except InputError as refusal:
        return refusal.problems[0].what
    return ""
