"""The doctor and the search speak of the same things."""

import re
import shlex

import pytest

from regulo.analysis.doctor.tuning import REMEDIES, tune_command
from regulo.analysis.tuning.arguments import parse_tune_args
from regulo.analysis.tuning.command import make_space
from regulo.config import compose


@pytest.mark.parametrize("words", [[], ["model=vit_tiny", "seed=3", "regularizer=none"], ["optim.lr=0.3", "name=mine"]])
def test_the_search_that_the_doctor_proposes_is_valid_and_tunes_this_run(words: list[str]) -> None:
    config = compose.load_config(words)
    match = re.fullmatch(r'make tune ARGS="(.*)"', tune_command(config))
    assert match
    args = parse_tune_args(shlex.split(match[1]))
    tuned = compose.load_config(args.overrides)
    assert tuned.model == config.model
    assert tuned.optim == config.optim
    assert tuned.regularizer == config.regularizer
    space = make_space(tuned, args)
    assert {*space.techniques, *space.values} == set(REMEDIES)
