"""The training step: nothing waits for the device between log points, ranks draw differently, a bad loss fails the run."""

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
from tests.conftest import GREY, build_model

STEPS = 9


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for the device: scalars, lists and copies to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "_local_scalar_dense" in str(func) or "nonzero" in str(func) or "unique" in str(func):
            self.count += 1
        return func(*args, **(kwargs or {}))


def trainer(**options: Any) -> Any:
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


def fit(t: ClassificationModule, batches: list[Batch], **options: Any) -> None:
    train, val = (DataLoader(b, batch_size=None) for b in (batches, batches[:1]))  # type: ignore[arg-type]
    trainer(**options).fit(t, train, [val, val])


def batches(n: int = STEPS) -> list[Batch]:
    g = torch.Generator().manual_seed(0)
    return [
        Batch(torch.randint(0, 256, (8, 1, 28, 28), generator=g, dtype=torch.uint8), torch.arange(8) % 10, torch.arange(8))
        for _ in range(n)
    ]


def task(names: str, optim: Any = None, log_every: int = 4) -> ClassificationModule:
    plan = Plan(compose.load_config([f"regularizer={names}"]).regularizer.values())
    model = plan.surgery(build_model("resnet_small", GREY), GREY)
    return ClassificationModule(
        Classifier(model, GREY, "contiguous"), GREY, plan, optim or SGD(lr=0.01, grad_clip_norm=1.0), 0, log_every
    )


@pytest.mark.parametrize(
    "optim", [SGD(lr=0.01, grad_clip_norm=1.0), SGD(lr=0.01), AdamW(grad_clip_norm=1.0)], ids=["sgd", "sgd-unclipped", "adamw"]
)
def test_nothing_waits_for_the_device_between_log_points(optim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.pytorch import Callback

    per_step: list[int] = []
    waits = Waits()
    for method in ("tolist", "numpy", "cpu"):
        plain = getattr(torch.Tensor, method)

        def counted(self: Any, *a: Any, plain: Any = plain, **k: Any) -> Any:
            waits.count += 1
            return plain(self, *a, **k)

        monkeypatch.setattr(torch.Tensor, method, counted)

    class Count(Callback):
        def on_train_batch_start(self, *_: Any, **__: Any) -> None:
            waits.count = 0
            waits.__enter__()

        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            waits.__exit__(None, None, None)
            per_step.append(waits.count)

    everything = "[augment,cutmix,dropout,mixup,label_smoothing,norm,weight_decay]"
    fit(task(everything, optim), batches(), callbacks=[Count()], log_every_n_steps=4)
    log_points = [3, 7, STEPS - 1]
    assert [n for i, n in enumerate(per_step) if i not in log_points] == [0] * (STEPS - len(log_points))
    assert all(per_step[i] > 0 for i in log_points), "the counter does see the readings"


@pytest.mark.parametrize("poison", ["loss", "input"])
def test_a_non_finite_loss_fails_the_run_with_a_remedy(poison: str) -> None:
    from regulo.core.errors import NonFiniteLossError

    t = task("none", SGD(lr=1e30))
    if poison == "input":
        t.classifier.mean.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"training loss is (nan|inf) in epoch 0.*optim\.lr"):
        fit(t, batches())


def test_a_non_finite_validation_loss_fails_before_anything_is_called_best() -> None:
    from regulo.core.errors import NonFiniteLossError

    t = task("none", SGD(lr=1e-9), log_every=100)

    def spoil(*_: Any) -> None:
        with torch.no_grad():
            t.classifier.model.head.bias.fill_(float("nan"))  # type: ignore[union-attr, operator]

    t.on_validation_start = spoil  # type: ignore[method-assign]
    with pytest.raises(NonFiniteLossError, match="validation loss is nan in epoch 0"):
        fit(t, batches(2))


def test_draws_differ_between_ranks_and_steps_and_repeat_with_the_seed() -> None:
    t = task("mixup")
    draws = {}
    for rank in (0, 1):
        for step in (0, 1):
            monkey = pytest.MonkeyPatch()
            monkey.setattr(ClassificationModule, "global_rank", rank)
            monkey.setattr(ClassificationModule, "global_step", step)
            t.steps = 10
            draws[rank, step] = t.step_context().rng("mixup").random()
            assert t.step_context().rng("mixup").random() == draws[rank, step]
            monkey.undo()
    assert len(set(draws.values())) == 4


def test_clipping_bounds_the_gradient_with_fused_optimizers() -> None:
    from lightning.pytorch import Callback

    norms = []

    class Look(Callback):
        def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
            if grads:
                norms.append(float(torch.nn.utils.get_total_norm(grads)))

    for optim in (SGD(lr=0.1, grad_clip_norm=0.05), AdamW(grad_clip_norm=0.05)):
        for precision in ("32-true", "bf16-mixed"):
            norms.clear()
            fit(task("none", optim), batches(4), callbacks=[Look()], precision=precision)
            assert norms
            assert max(norms) <= 0.0501


def test_two_log_points_measure_what_lies_between_them() -> None:
    from lightning.pytorch import Callback

    seen = []

    class Look(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
            seen.append(float(trainer.callback_metrics.get("train/loss", float("nan"))))

    t = task("none", SGD(lr=1e-12), log_every=2)
    fit(t, batches(4), callbacks=[Look()], log_every_n_steps=1)
    t.classifier.train()
    losses = [torch.nn.functional.cross_entropy(t(b.images), b.labels).item() for b in batches(4)]
    assert seen[1] == pytest.approx(sum(losses[:2]) / 2, rel=1e-4)
    assert seen[3] == pytest.approx(sum(losses[2:]) / 2, rel=1e-4)
