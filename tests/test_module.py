"""The LightningModule: no step waits for the device between log points, ranks have different random numbers, and a loss that
is not finite ends the run.
"""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from regulo.config import compose
from regulo.core.types import Batch
from regulo.models.components.classifier import Classifier
from regulo.optim.adamw import AdamW
from regulo.optim.sgd import SGD
from regulo.regularizers.components.plan import Plan
from regulo.training.module import ClassificationModule
from tests.conftest import GRAY, build_model

STEPS = 9


class SyncCounter(TorchDispatchMode):
    """Counts operations that make the host wait for the device: scalars, lists and copies to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "_local_scalar_dense" in str(func) or "nonzero" in str(func) or "unique" in str(func):
            self.count += 1
        return func(*args, **(kwargs or {}))


def make_trainer(**options: Any) -> Any:
    from lightning import Trainer

    defaults = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "max_epochs": 1,
    }
    return Trainer(**(defaults | options))


def fit(module: ClassificationModule, batches: list[Batch], **options: Any) -> None:
    train, val = (DataLoader(b, batch_size=None) for b in (batches, batches[:1]))  # type: ignore[arg-type]
    make_trainer(**options).fit(module, train, [val, val])


def make_batches(n: int = STEPS) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    labels, indices = torch.arange(8) % 10, torch.arange(8)
    images = [torch.randint(0, 256, (8, 1, 28, 28), generator=generator, dtype=torch.uint8) for _ in range(n)]
    return [Batch(batch, labels, indices) for batch in images]


def make_module(names: str, optim: Any = None, log_every: int = 4) -> ClassificationModule:
    plan = Plan(compose.load_config([f"regularizer={names}"]).regularizer.values())
    model = plan.surgery(build_model("resnet_small", GRAY), GRAY)
    return ClassificationModule(
        Classifier(model, GRAY, "contiguous"), [1] * 10, plan, optim or SGD(lr=0.01, grad_clip_norm=1.0), 0, log_every
    )


@pytest.mark.parametrize(
    "optim", [SGD(lr=0.01, grad_clip_norm=1.0), SGD(lr=0.01), AdamW(grad_clip_norm=1.0)], ids=["sgd", "sgd-unclipped", "adamw"]
)
def test_nothing_waits_for_the_device_between_log_points(optim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.pytorch import Callback

    per_step: list[int] = []
    syncs = SyncCounter()
    for method in ("tolist", "numpy", "cpu"):
        original = getattr(torch.Tensor, method)

        def count_and_call(self: Any, *args: Any, original: Any = original, **kwargs: Any) -> Any:
            syncs.count += 1
            return original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, method, count_and_call)

    class CountCallback(Callback):
        def on_train_batch_start(self, *_: Any, **__: Any) -> None:
            syncs.count = 0
            syncs.__enter__()

        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            syncs.__exit__(None, None, None)
            per_step.append(syncs.count)

    everything = "[augment,cutmix,dropout,mixup,label_smoothing,norm,weight_decay]"
    fit(make_module(everything, optim), make_batches(), callbacks=[CountCallback()], log_every_n_steps=4)
    log_points = [3, 7, STEPS - 1]
    assert [n for i, n in enumerate(per_step) if i not in log_points] == [0] * (STEPS - len(log_points))
    assert all(per_step[i] > 0 for i in log_points), "the counter sees the reads at log points"


@pytest.mark.parametrize("cause", ["loss", "input"])
def test_a_non_finite_loss_ends_the_run_with_a_hint(cause: str) -> None:
    from regulo.core.errors import NonFiniteLossError

    module = make_module("none", SGD(lr=1e30))
    if cause == "input":
        module.classifier.mean.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"training loss is (nan|inf) in epoch 0.*optim\.lr"):
        fit(module, make_batches())


def test_a_non_finite_validation_loss_fails_before_anything_is_called_best() -> None:
    from regulo.core.errors import NonFiniteLossError

    module = make_module("none", SGD(lr=1e-9), log_every=100)

    def set_nan(*_: Any) -> None:
        with torch.no_grad():
            module.classifier.model.head.bias.fill_(float("nan"))  # type: ignore[union-attr, operator]

    module.on_validation_start = set_nan  # type: ignore[method-assign]
    with pytest.raises(NonFiniteLossError, match="validation loss is nan in epoch 0"):
        fit(module, make_batches(2))


def test_draws_differ_between_ranks_and_steps_and_repeat_with_the_seed() -> None:
    module = make_module("mixup")
    numbers = {}
    for rank in (0, 1):
        for step in (0, 1):
            patch = pytest.MonkeyPatch()
            patch.setattr(ClassificationModule, "global_rank", rank)
            patch.setattr(ClassificationModule, "global_step", step)
            module.steps = 10
            numbers[rank, step] = module.step_context().rng("mixup").random()
            assert module.step_context().rng("mixup").random() == numbers[rank, step]
            patch.undo()
    assert len(set(numbers.values())) == 4


def test_clipping_bounds_the_gradient_with_fused_optimizers() -> None:
    from lightning.pytorch import Callback

    norms = []

    class GradientNormCallback(Callback):
        def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
            if grads:
                norms.append(float(torch.nn.utils.get_total_norm(grads)))

    for optim in (SGD(lr=0.1, grad_clip_norm=0.05), AdamW(grad_clip_norm=0.05)):
        for precision in ("32-true", "bf16-mixed"):
            norms.clear()
            fit(make_module("none", optim), make_batches(4), callbacks=[GradientNormCallback()], precision=precision)
            assert norms
            assert max(norms) <= 0.0501


def test_the_logged_loss_is_the_mean_of_the_steps_since_the_last_log_point() -> None:
    from lightning.pytorch import Callback

    row_losses = []

    class LossCallback(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
            row_losses.append(float(trainer.callback_metrics.get("train/loss", float("nan"))))

    module = make_module("none", SGD(lr=1e-12), log_every=2)
    fit(module, make_batches(4), callbacks=[LossCallback()], log_every_n_steps=1)
    module.classifier.train()
    losses = [torch.nn.functional.cross_entropy(module(b.images), b.labels).item() for b in make_batches(4)]
    assert row_losses[1] == pytest.approx(sum(losses[:2]) / 2, rel=1e-4)
    assert row_losses[3] == pytest.approx(sum(losses[2:]) / 2, rel=1e-4)
