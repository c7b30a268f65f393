"""The search that the doctor proposes for a run that overfits: `regulo tune`, narrowed to what helps against that."""

from regulo.analysis.doctor.verdict import repeat_overrides
from regulo.analysis.launchers.runs import override_key
from regulo.config.overrides import make_command
from regulo.config.schema import Config

REMEDIES = ("augment", "dropout", "label_smoothing", "mixup", "weight_decay", "strength")
"""what is searched, of the plan or new"""
OWN_KEYS = ("seed", "run_dir", "name")
"""keys of a run that a study sets itself, or does not need"""


def tune_command(config: Config, budget: str = "2h") -> str:
    """The command that searches the remedies for a run."""
    overrides = [word for word in repeat_overrides(config) if override_key(word) not in OWN_KEYS]
    return make_command([*overrides, f"tune.search=[{','.join(REMEDIES)}]", f"budget={budget}"], "tune")
