"""What acts on a step of the optimizer, against closed forms in float64 and inside a real run."""

import copy
import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from regulo.config.trainer import TrainerConfig
from regulo.core.errors import InputError
from regulo.core.rng import StepContext
from regulo.core.schedule import Ramp
from regulo.core.types import Batch, soft_targets
from regulo.optim.adamw import AdamW
from regulo.optim.components.param_groups import NamedParameter, ParamGroup
from regulo.optim.sgd import SGD
from regulo.regularizers.components.plan import Plan
from regulo.regularizers.gradient_noise import GradientNoise, noise_std
from regulo.regularizers.layer_decay import LayerDecay
from regulo.regularizers.lookahead import Lookahead
from regulo.regularizers.sam import SAM, perturbations
from regulo.regularizers.weight_decay import WeightDecay
from tests.conftest import COLOR, GRAY, build_model
from tests.test_module import SyncCounter, fit, make_batches, make_module

A = torch.tensor([[3.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 2.0]], dtype=torch.float64)
B = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
START = torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64)
OPTIMS = [SGD(lr=0.1, momentum=0.0), SGD(lr=0.1), AdamW(lr=0.1)]
NAMES = ["plain", "momentum", "adamw"]


class Quadratic(nn.Module):
    """½ θᵀAθ − bᵀθ, whose gradient is Aθ − b."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(START.clone())

    def forward(self) -> torch.Tensor:
        return self.theta @ A @ self.theta / 2 - B @ self.theta


def gradient(theta: torch.Tensor) -> torch.Tensor:
    return A @ theta - B


class Descent:
    """An optimizer with techniques around it, on the quadratic."""

    def __init__(self, optim: Any, *regularizers: Any, seed: int = 0, rank: int = 0, progress: float = 0.0) -> None:
        self.model, self.step_number, self.seed, self.rank, self.progress = Quadratic(), 0, seed, rank, progress
        plan = Plan(regularizers)
        base = optim.build(plan.param_groups(self.model), fused=False)
        self.optimizer = plan.wrap_optimizer(base, self.model, self.now)

    def now(self) -> StepContext:
        return StepContext(self.seed, self.rank, self.step_number, self.progress)

    def closure(self) -> torch.Tensor:
        self.optimizer.zero_grad()
        loss = self.model()
        loss.backward()
        return loss

    def go(self, steps: int = 1) -> torch.Tensor:
        for _ in range(steps):
            self.optimizer.step(self.closure)
            self.step_number += 1
        return self.model.theta.detach().clone()


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


# ---- SGDW


@pytest.mark.parametrize("closure", [True, False])
def test_sgdw_shrinks_the_weights_beside_the_gradient_at_theta_from_the_first_step_on(closure: bool) -> None:
    d = Descent(SGD(lr=0.1, momentum=0.0), WeightDecay(rate=0.2, skip=[]))
    theta = START.clone()
    for _ in range(3):
        if closure:
            d.go()
        else:
            d.closure()
            d.optimizer.step()
        theta = (1 - 0.1 * 0.2) * theta - 0.1 * gradient(theta)
        close(d.model.theta.detach(), theta)


def test_a_step_of_the_trainer_is_sgdws_equation() -> None:
    t = make_module("[weight_decay]", SGD(lr=0.5, momentum=0.0, schedule="constant", warmup=0.0))
    t.plan = Plan([WeightDecay(rate=0.2, skip=[])])
    batch = make_batches(1)
    twin = copy.deepcopy(t.classifier).train()
    loss = nn.functional.cross_entropy(twin(batch[0].images), soft_targets(batch[0].labels, 10))
    loss.backward()
    fit(t, batch)
    for name, p in twin.named_parameters():
        after, theta, g = t.classifier.get_parameter(name).detach(), p.detach().double(), p.grad.double()  # type: ignore[union-attr]
        torch.testing.assert_close(after.double(), (1 - 0.5 * 0.2) * theta - 0.5 * g, rtol=1e-5, atol=1e-6)
    distance = (t.classifier.get_parameter("model.conv.weight") - twin.get_parameter("model.conv.weight")).abs().max()
    assert distance > 1e-3, "a wrong order of decay and gradient would show"


# ---- SAM


@pytest.mark.formula("sam")
@pytest.mark.parametrize("adaptive", [False, True], ids=["sam", "asam"])
@pytest.mark.parametrize("optim", OPTIMS, ids=NAMES)
def test_sam_steps_from_theta_along_the_gradient_at_the_worst_point_nearby(optim: Any, adaptive: bool) -> None:
    rho, eta = 0.3, 0.1
    d = Descent(optim, SAM(rho=rho, adaptive=adaptive, eta=eta), WeightDecay(rate=0.05, skip=[]))
    plain = Descent(optim, WeightDecay(rate=0.05, skip=[]))
    for _ in range(3):
        theta = d.model.theta.detach().clone()
        size = theta.abs() + eta if adaptive else torch.ones(3, dtype=torch.float64)
        g = gradient(theta)
        worst = theta + rho * size**2 * g / (size * g).norm()
        plain.model.theta.grad = gradient(worst)  # the base alone, given that gradient at θ
        plain.optimizer.step()
        close(d.go(), plain.model.theta.detach())
        assert (worst - theta).norm() > 0.05


def test_sams_perturbation_is_the_first_order_worst_case_within_its_ball() -> None:
    p = nn.Parameter(START.clone())
    p.grad = gradient(START)
    (epsilon,) = perturbations([p], 0.7)
    assert epsilon.norm().item() == pytest.approx(0.7)
    (epsilon,) = perturbations([p], 0.7, eta=0.0)
    assert (epsilon / START.abs()).norm().item() == pytest.approx(0.7), "ASAM: ‖T⁻¹ ε‖ = ρ"


def test_sam_with_no_gradient_and_with_no_radius() -> None:
    p = nn.Parameter(START.clone())
    p.grad = torch.zeros_like(START)
    assert perturbations([p], 0.05)[0].equal(torch.zeros_like(START))
    assert Descent(SGD(), SAM(rho=0.0)).go(3).equal(Descent(SGD()).go(3))


def test_sam_puts_the_parameters_back_exactly() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        model = nn.Linear(50, 50).to(dtype)
        before = [p.detach().clone() for p in model.parameters()]
        base = torch.optim.SGD(model.parameters(), lr=0.0)
        sharp = SAM(rho=3.0).wrap_optimizer(base, model, lambda: (SAM(rho=3.0), StepContext(0)))
        weights = []

        def closure(model: Any = model, weights: Any = weights, dtype: Any = dtype) -> torch.Tensor:
            model.zero_grad()
            weights.append(model.weight.detach().clone())
            loss = model(torch.ones(2, 50, dtype=dtype)).square().sum()
            loss.backward()
            return loss

        sharp.step(closure)
        assert len(weights) == 2
        assert not weights[0].equal(weights[1])
        assert all(p.equal(b) for p, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("optim", [SGD(lr=0.3, grad_clip_norm=0.05), AdamW(lr=0.01)], ids=["sgd-clipped", "adamw"])
def test_in_a_run_sam_logs_the_clean_loss_and_updates_statistics_once_per_step(optim: Any) -> None:
    from lightning.pytorch import Callback

    t = make_module("[sam,weight_decay]", optim, log_every=1)
    t.plan = Plan([SAM(rho=0.5), WeightDecay(rate=0.1)])
    twin = copy.deepcopy(t.classifier)
    losses: list[float] = []
    norms: list[float] = []

    class Look(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, *_: Any) -> None:
            for mine, theirs in zip(twin.parameters(), pl_module.classifier.parameters(), strict=True):
                mine.data.copy_(theirs)
            clean = nn.functional.cross_entropy(twin.train()(batch.images), batch.labels)  # its statistics: one update
            self.clean = clean.item()

        def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
            norms.extend([float(torch.nn.utils.get_total_norm(grads))] if grads else [])

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            losses.append(float(trainer.callback_metrics["train/loss"]))
            assert losses[-1] == pytest.approx(self.clean, rel=1e-5)

    fit(t, make_batches(4), callbacks=[Look()], log_every_n_steps=1)
    assert len(losses) == 4
    assert not optim.grad_clip_norm or max(norms) <= optim.grad_clip_norm * 1.001
    for name, b in twin.named_buffers():
        torch.testing.assert_close(t.classifier.get_buffer(name), b, msg=name)
    assert t.classifier.model.norm.num_batches_tracked == 4  # type: ignore[union-attr]


# ---- layer decay


def beits_layer(name: str, blocks: int) -> int:
    """get_num_layer_for_vit of BEiT, in the names of the models here."""
    block = re.search(r"(?:^|\.)(?:blocks\.|encoder_layer_)(\d+)\.", name)
    if block:
        return int(block[1]) + 1
    first = r"position|class_token|embed|conv_proj|encoder\.pos_embedding|conv\."
    if blocks == 3:  # a ResNet's norm lies before its blocks, a ViT's behind
        first += r"|norm\."
    return 0 if re.match(first, name) else blocks + 1


MODELS = [("resnet_small", 3), ("vit_tiny", 2), ("torchvision", 12)]


def model_of(name: str) -> nn.Module:
    if name != "torchvision":
        return build_model(name, COLOR)
    from regulo.models.torchvision import Torchvision

    with torch.device("meta"):  # parameters without numbers: 88 million of them
        return Torchvision(architecture="vit_b_32").build(COLOR)


@pytest.mark.formula("layer_decay")
@pytest.mark.parametrize(("name", "blocks"), MODELS, ids=[name for name, _ in MODELS])
def test_layer_decay_is_beits(name: str, blocks: int) -> None:
    model = model_of(name)
    for regularizers in ([LayerDecay(decay=0.5)], [LayerDecay(decay=0.5), WeightDecay(rate=0.1)]):
        plan = Plan(regularizers)
        groups = plan.param_groups(model)
        names = [m.name for g in groups for m in g.members]
        assert sorted(names) == sorted(n for n, _ in model.named_parameters())
        for group in groups:
            for m in group.members:
                assert group.lr_scale == 0.5 ** (blocks + 1 - beits_layer(m.name, blocks)), m.name
        optimizer = SGD(lr=0.2, schedule="cosine").build(groups, fused=False)
        rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
        for m in (m for g in groups for m in g.members):
            assert rates[id(m.parameter)] == pytest.approx(0.2 * 0.5 ** (blocks + 1 - beits_layer(m.name, blocks)))
        assert optimizer.param_groups[0]["lr"] == 0.2, "the rate that is logged is the run's"
    alone = {m.name: g.weight_decay for g in Plan([WeightDecay(rate=0.1)]).param_groups(model) for m in g.members}
    assert {m.name: g.weight_decay for g in groups for m in g.members} == alone


def test_a_schedule_keeps_the_ratios_of_the_layers() -> None:
    groups = Plan([LayerDecay(decay=0.7), WeightDecay()]).param_groups(build_model("vit_tiny", GRAY))
    optim = AdamW(lr=0.1, schedule="cosine", warmup=0.3)
    optimizer, rates = optim.build(groups, fused=False), optim.lr_factors(10)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(rates[step]))
    for step in range(9):
        for mine, group in zip(optimizer.param_groups, groups, strict=True):
            assert mine["lr"] == pytest.approx(0.1 * rates[step] * group.lr_scale)
        optimizer.step()
        schedule.step()


def test_strength_is_an_exponent_and_a_model_without_blocks_is_refused() -> None:
    assert LayerDecay(decay=0.5).with_strength(0) is None
    assert LayerDecay(decay=0.5).with_strength(2) == LayerDecay(decay=0.25)
    layer = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"layer_decay: .*blocks"):
        Plan([LayerDecay()]).param_groups(layer)
    groups_with_scale = [
        ParamGroup((NamedParameter("a", layer.weight, layer, 0), NamedParameter("b", layer.bias, layer, 2)), lr_scale=0.1)
    ]
    assert [g.lr_scale for g in LayerDecay(decay=0.5).param_groups(groups_with_scale)] == [0.1, 0.025], (
        "it multiplies what is there"
    )


# ---- gradient noise


@pytest.mark.formula("gradient_noise")
def test_gradient_noise_has_the_papers_variance_and_comes_after_the_gradient() -> None:
    noise = GradientNoise(eta=0.3, gamma=0.55)
    for t in (0, 1, 999):
        assert noise_std(t, noise.eta, noise.gamma) ** 2 == pytest.approx(0.3 / (1 + t) ** 0.55, rel=1e-12)
    n = 100_000
    p = nn.Parameter(torch.zeros(n))
    base = torch.optim.SGD([p], lr=1.0)
    noisy = noise.wrap_optimizer(base, nn.Identity(), lambda: (noise, StepContext(0, step=7)))

    def closure() -> None:
        p.grad = torch.full((n,), 2.0)

    noisy.step(closure)
    draws = (-p.detach() - 2).double()
    sigma = (0.3 / 8**0.55) ** 0.5
    assert abs(draws.mean().item()) < 5 * sigma / n**0.5
    assert abs(draws.std().item() / sigma - 1) < 5 / (2 * n) ** 0.5
    assert abs((draws / sigma).pow(4).mean().item() - 3) < 5 * (96 / n) ** 0.5, "the fourth moment of a normal"


def test_the_noise_is_that_of_the_step_on_every_rank() -> None:
    ends = {(seed, rank): Descent(SGD(), GradientNoise(), seed=seed, rank=rank).go(4) for seed in (0, 1) for rank in (0, 1)}
    assert ends[0, 0].equal(ends[0, 1])
    assert not ends[0, 0].allclose(ends[1, 0])
    d = Descent(SGD(lr=1.0, momentum=0.0), GradientNoise(gamma=0.0))
    steps = []
    for _ in range(3):
        before = d.model.theta.detach().clone()
        steps.append(before - gradient(before) - d.go())
    assert not steps[0].allclose(steps[1])
    assert not steps[1].allclose(steps[2])


def test_noise_leaves_the_global_generator_alone_and_is_absent_at_strength_0() -> None:
    state = torch.random.get_rng_state()
    assert not Descent(SGD(), GradientNoise()).go(2).equal(Descent(SGD()).go(2))
    assert torch.random.get_rng_state().equal(state)
    assert Descent(SGD(), GradientNoise().with_strength(0)).go(3).equal(Descent(SGD()).go(3))


def test_noise_lies_on_the_gradient_that_sam_follows_and_not_on_the_one_it_climbs() -> None:
    noisy, alone = (Descent(SGD(lr=0.1, momentum=0.0), *more, SAM(rho=0.3)) for more in ([GradientNoise()], []))
    plain = Descent(SGD(lr=0.1, momentum=0.0), GradientNoise())
    only_noise = plain.go() - (START - 0.1 * gradient(START))
    close(noisy.go() - alone.go(), only_noise)


# ---- Lookahead


@pytest.mark.formula("lookahead")
@pytest.mark.parametrize("k", [1, 2, 5])
def test_lookahead_is_its_algorithm_in_float64(k: int) -> None:
    d = Descent(SGD(lr=0.1, momentum=0.0), Lookahead(k=k, alpha=0.3))
    slow = START.clone()
    for _ in range(4):
        fast = slow.clone()
        for i in range(k):
            fast = fast - 0.1 * gradient(fast)
            if i < k - 1:
                close(d.go(), fast)
        slow = slow + 0.3 * (fast - slow)
        close(d.go(), slow)


@pytest.mark.parametrize("optim", OPTIMS, ids=NAMES)
def test_the_optimizers_own_averages_go_on(optim: Any) -> None:
    d, alone = Descent(optim, Lookahead(k=3, alpha=0.5)), Descent(optim)
    close(d.go(2), alone.go(2))
    third = alone.go()
    close(d.go(), START + 0.5 * (third - START))
    ours, theirs = (x.optimizer.state_dict()["state"] for x in (d, alone))
    momentum = not isinstance(optim, SGD) or optim.momentum > 0
    assert any(value is not None for value in theirs.get(0, {}).values()) is momentum
    for name, value in theirs.get(0, {}).items():
        assert value is None or value.equal(ours[0][name]), name


@pytest.mark.parametrize("optim", OPTIMS, ids=NAMES)
def test_a_resumed_run_goes_on_as_the_unbroken_one(optim: Any) -> None:
    unbroken, first = (Descent(optim, Lookahead(k=4, alpha=0.5)) for _ in range(2))
    first.go(6)
    file = io.BytesIO()
    torch.save({"theta": first.model.state_dict(), "optimizer": first.optimizer.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    second = Descent(optim, Lookahead(k=4, alpha=0.5))
    second.model.load_state_dict(state["theta"])
    second.optimizer.load_state_dict(state["optimizer"])
    second.step_number = 6
    assert second.go(7).equal(unbroken.go(13))


def test_a_parameter_without_a_gradient_stays_out() -> None:
    d = Descent(AdamW(lr=0.1), Lookahead(k=1))
    idle = nn.Parameter(torch.ones(2, dtype=torch.float64))
    d.optimizer.add_param_group({"params": [idle]})
    d.go(2)
    assert idle.equal(torch.ones(2, dtype=torch.float64))
    assert idle not in d.optimizer.state
    idle.grad = torch.ones_like(idle)  # Adam meets it only now
    d.optimizer.zero_grad = lambda *_: None  # type: ignore[method-assign, assignment]
    d.go()
    close(idle.detach(), torch.full((2,), 1 - 0.5 * 0.1 / (1 + 1e-8), dtype=torch.float64))


def test_lookahead_at_strength_0_and_at_alpha_1_is_the_optimizer_alone() -> None:
    alone = Descent(SGD()).go(7)
    assert Descent(SGD(), Lookahead(k=2, alpha=1.0)).go(7).equal(alone)
    assert Lookahead().with_strength(0) is None
    assert Lookahead(alpha=0.5).with_strength(2) == Lookahead(alpha=0.25)
    ramp = Lookahead.model_validate({"alpha": Ramp[float](start=0.5, end=1.0)})
    assert ramp.with_strength(2).resolve(0.5).alpha == pytest.approx((0.25 + 1) / 2)  # type: ignore[union-attr]


def test_lookahead_goes_around_sam() -> None:
    d, alone = Descent(OPTIMS[0], Lookahead(k=2, alpha=0.5), SAM(rho=0.2)), Descent(OPTIMS[0], SAM(rho=0.2))
    close(d.go(2), (START + alone.go(2)) / 2)


# ---- all of them in a run

EVERYTHING = (
    "[confidence_penalty,dropout,ema,focal_loss,gradient_noise,l1,layer_decay,lookahead,orthogonality,r_drop,sam,weight_decay]"
)


def test_nothing_waits_for_the_device_between_log_points() -> None:
    from lightning.pytorch import Callback

    from regulo.regularizers.base import Goal

    per_step: list[int] = []
    waits = SyncCounter()

    class Begin(Callback):
        def on_train_batch_start(self, *_: Any, **__: Any) -> None:
            waits.count = 0
            waits.__enter__()

    class End(Callback):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            waits.__exit__(None, None, None)
            per_step.append(waits.count)

    t = make_module(EVERYTHING, AdamW(grad_clip_norm=1.0))
    fit(t, make_batches(6), callbacks=[Begin(), *t.plan.callbacks(Goal("val/loss", "min")), End()], log_every_n_steps=4)
    assert [n > 0 for n in per_step] == [False, False, False, True, False, True], "the log points alone"


def test_the_trainer_writes_the_slow_weights_into_its_checkpoint(tmp_path: Path) -> None:
    from regulo.distributed.preemption import StopRequest
    from regulo.regularizers.base import Goal
    from regulo.tracking.checkpoint_io import read_checkpoint
    from regulo.training.checkpointing import checkpoint_callbacks

    t = make_module("[lookahead]", AdamW())
    fit(
        t,
        make_batches(4),
        enable_checkpointing=True,
        callbacks=checkpoint_callbacks(tmp_path, Goal("val/loss", "min"), TrainerConfig(), StopRequest(None)),
    )
    (state,) = read_checkpoint(tmp_path / "last.ckpt")["optimizer_states"]
    assert all("slow" in s for s in state["state"].values())
    assert len(state["state"]) == len(list(t.classifier.parameters()))
