import numpy as np
import pytest
import torch

from regulo.optim.base import SCHEDULES
from regulo.optim.sgd import SGD


def through_torch(make: "object", steps: int) -> np.ndarray:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = make(optimizer)  # type: ignore[operator]
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


@pytest.mark.parametrize("warmup", [0.1, 0.2, 0.5])
def test_one_cycle_is_torchs(warmup: float) -> None:
    theirs = through_torch(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, total_steps=201, pct_start=warmup, cycle_momentum=False), 201
    )
    np.testing.assert_allclose(SGD(schedule="one_cycle", warmup=warmup).lr_factors(201), theirs, rtol=1e-9, atol=1e-12)


def test_cosine_is_torchs_after_the_warm_up() -> None:
    rates = SGD(schedule="cosine", warmup=0.1).lr_factors(100)
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    theirs = through_torch(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 90), 90)
    np.testing.assert_allclose(rates[10:], theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.3, 0.99])
def test_every_schedule_has_one_rate_per_step_between_0_and_1(name: str, steps: int, warmup: float) -> None:
    rates = SCHEDULES[name](steps, warmup)
    assert rates.shape == (steps,)
    assert ((rates >= 0) & (rates <= 1 + 1e-12)).all()
    assert rates.max() > 0


def test_no_warm_up_starts_at_the_top() -> None:
    for name in SCHEDULES:
        assert SCHEDULES[name](100, 0.0)[0] == pytest.approx(1, abs=0.01), name
