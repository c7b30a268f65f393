"""Gradient checkpointing: the same loss, gradients and running statistics, and less that is kept for the backward pass."""

from typing import Any

import pytest
import torch

from regulo.core.errors import InputError
from regulo.regularizers.components.plan import Plan
from regulo.regularizers.dropout import Dropout
from regulo.regularizers.stochastic_depth import StochasticDepth
from regulo.training.gradient_checkpointing import checkpoint_blocks
from tests.conftest import COLOR, build_model, images_of

MODELS: list[tuple[str, dict[str, Any]]] = [
    ("resnet_small", {}),
    ("vit_tiny", {}),
    ("torchvision", {"architecture": "resnet18"}),
    ("timm", {"architecture": "test_resnet"}),
    ("timm", {"architecture": "test_vit"}),
]


def step(name: str, fields: dict[str, Any], checkpointing: bool) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients and buffers after one forward and backward pass, and how many bytes were kept between the two."""
    model = Plan([Dropout(fc=0.3), StochasticDepth(p=0.5)]).surgery(build_model(name, COLOR, **fields), COLOR)
    if checkpointing:
        checkpoint_blocks(model)
    model.train()
    sizes: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(images_of(COLOR, 8)).square().mean()
    kept = sum(sizes)
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return gradients | dict(model.named_buffers()), kept


@pytest.mark.parametrize(("name", "fields"), MODELS)
def test_the_result_is_equal_and_less_is_kept(name: str, fields: dict[str, Any]) -> None:
    expected, all_bytes = step(name, fields, checkpointing=False)
    actual, kept = step(name, fields, checkpointing=True)
    assert actual.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(actual[key], tensor, rtol=1e-5, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")
    assert kept < all_bytes / 2


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(InputError, match=r"^trainer\.gradient_checkpointing: .*not made of blocks"):
        checkpoint_blocks(torch.nn.Sequential(torch.nn.Linear(2, 2)))


def test_a_run_trains_with_it(run: Any) -> None:
    _, plain = run("trainer=cpu", name="plain")
    _, result = run("trainer=cpu", "trainer.gradient_checkpointing=true", name="checkpointing")
    assert result["test/loss"] == pytest.approx(plain["test/loss"], rel=1e-4)
