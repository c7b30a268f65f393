import pytest
import torch

from regulo.core.types import soft_targets
from regulo.training import autotune
from tests.conftest import GRAY, build_model, images_of


def choose(monkeypatch: pytest.MonkeyPatch, times: dict[tuple[str, str], float], **requests: str) -> autotune.AutotuneResult:
    monkeypatch.setattr(autotune, "_step", lambda m, i, t, trial: times[trial.precision, trial.memory_format])
    settings = {"precision": "auto", "memory_format": "auto"} | requests
    model = build_model("resnet_small", GRAY, width=16)
    return autotune.choose_fastest(model, images_of(GRAY), soft_targets(torch.arange(4), 10), **settings)  # type: ignore[arg-type]


PLAIN, PLAIN_CL, HALF, HALF_CL = [(p, f) for p in ("32-true", "bf16-mixed") for f in ("contiguous", "channels_last")]


def test_the_fastest_wins_by_a_clear_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = choose(monkeypatch, {PLAIN: 1.0, PLAIN_CL: 0.9, HALF: 0.7, HALF_CL: 0.5})
    assert (choice.precision, choice.memory_format) == HALF_CL
    assert [t.seconds for t in choice.evidence] == [1.0, 0.9, 0.7, 0.5]


def test_without_a_clear_margin_the_plainest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = choose(monkeypatch, {PLAIN: 1.0, PLAIN_CL: 0.93, HALF: 2.0, HALF_CL: 0.95})
    assert (choice.precision, choice.memory_format) == PLAIN
    choice = choose(monkeypatch, {PLAIN: 1.0, PLAIN_CL: 0.98, HALF: 0.52, HALF_CL: 0.5})
    assert (choice.precision, choice.memory_format) == HALF


def test_a_hopeless_setting_is_tried_on_a_part_of_the_batch_only(monkeypatch: pytest.MonkeyPatch) -> None:
    per_image = {PLAIN: 1e-3, PLAIN_CL: 0.7e-3, HALF: 20e-3, HALF_CL: 10e-3}
    steps: list[tuple[str, int]] = []

    def step(model: torch.nn.Module, images: torch.Tensor, targets: torch.Tensor, trial: autotune.Candidate) -> float:
        steps.append((trial.precision, len(images)))
        return per_image[trial.precision, trial.memory_format] * len(images)

    monkeypatch.setattr(autotune, "_step", step)
    images, targets = torch.zeros(128, 1, 28, 28), torch.zeros(128, 10)
    choice = autotune.choose_fastest(build_model("resnet_small", GRAY, width=16), images, targets, "auto", "auto", budget=0)
    assert (choice.precision, choice.memory_format) == PLAIN_CL
    assert {size for precision, size in steps if precision == "bf16-mixed"} == {16}
    assert {size for precision, size in steps if precision == "32-true"} == {16, 128}
    assert [t.seconds for t in choice.evidence] == pytest.approx([0.128, 0.0896, 2.56, 1.28])


def test_a_long_step_is_timed_on_a_part_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def step(model: torch.nn.Module, images: torch.Tensor, targets: torch.Tensor, trial: autotune.Candidate) -> float:
        sizes.append(len(images))
        return 0.01 * len(images)

    monkeypatch.setattr(autotune, "_step", step)
    images, targets = torch.zeros(128, 1, 28, 28), torch.zeros(128, 10)
    choice = autotune.choose_fastest(build_model("resnet_small", GRAY, width=16), images, targets, "32-true", "auto", budget=0)
    assert set(sizes) == {16, 25}, "a quarter of a second"
    assert [t.seconds for t in choice.evidence] == pytest.approx([1.28, 1.28])


def test_a_fixed_setting_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = choose(monkeypatch, {HALF: 1.0, HALF_CL: 0.5}, precision="bf16-mixed")
    assert choice.precision == "bf16-mixed"
    fixed = choose(monkeypatch, {PLAIN: 1.0}, precision="32-true", memory_format="contiguous")
    assert [t.seconds for t in fixed.evidence] == [1.0]


def test_measuring_changes_neither_the_model_nor_the_random_generator() -> None:
    model = build_model("resnet_small", GRAY, width=16)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.random.get_rng_state()
    choice = autotune.choose_fastest(model, images_of(GRAY), soft_targets(torch.arange(4), 10), "auto", "auto", budget=0.1)
    assert len(choice.evidence) == 4
    assert all(t.seconds for t in choice.evidence)
    assert torch.random.get_rng_state().equal(state)
    assert all(v.equal(before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_model_without_convolutions_has_no_memory_format_to_choose() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    choice = autotune.choose_fastest(model, images_of(GRAY), soft_targets(torch.arange(4), 10), "auto", "auto", budget=0.1)
    assert {t.memory_format for t in choice.evidence} == {"contiguous"}
