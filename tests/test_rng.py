import itertools
import traceback
import zlib

import numpy as np
import pytest
import torch

from regulo.core.rng import make_rng, sample_seed, seed_torch, torch_seed


def test_draws_are_a_pure_function_of_their_place() -> None:
    """By NumPy's own seeding: if it changed, a run could not be repeated or go on with a later version."""
    assert make_rng(1, 0, 5, "mixup").random() == np.random.default_rng([1, 0, 5, zlib.crc32(b"mixup")]).random()
    assert sample_seed(1, 2, 3) == np.random.SeedSequence([1, 2, 3, 0]).generate_state(1)[0]
    assert torch_seed(1, 2, 3) == np.random.SeedSequence([1, 2, 3]).generate_state(1)[0]


def test_draws_differ_between_seeds_ranks_steps_and_names() -> None:
    places = itertools.product([0, 1], [0, 1], [0, 1, 2], ["mixup", "cutmix"])
    assert len({make_rng(*place).random() for place in places}) == 24
    assert len({sample_seed(s, e, i) for s, e, i in itertools.product(range(3), range(3), range(100))}) == 900
    assert len({torch_seed(*place) for place in itertools.product(range(5), range(5), range(5))}) == 125


def test_to_seed_torch_does_what_torch_does_and_takes_no_note_of_the_call_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    monkeypatch.setattr(traceback, "format_stack", None)  # a millisecond in every step
    seed_torch(7, torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)
