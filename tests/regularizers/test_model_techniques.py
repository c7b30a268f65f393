"""Techniques that change the model or its weights, each against an independent reference."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regulo.core.errors import InputError
from regulo.core.rng import StepContext
from regulo.core.schedule import Ramp, RampBuffer
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import find_sites
from regulo.optim.components.param_groups import weight_matrices
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.plan import Plan, find_conflicts
from regulo.regularizers.components.replay import frozen_bn_stats
from regulo.regularizers.drop_block import DropBlock, DropBlock2d, drop_blocks
from regulo.regularizers.ghost_batch_norm import GhostBatchNorm, GhostBatchNorm2d
from regulo.regularizers.max_norm import MaxNorm, project
from regulo.regularizers.norm import Norm
from regulo.regularizers.patch_dropout import DropPatches, PatchDropout
from regulo.regularizers.sam import SAM
from regulo.regularizers.shake_drop import ShakeBranch, ShakeDrop
from regulo.regularizers.stochastic_depth import DropPath, StochasticDepth
from regulo.regularizers.weight_standardization import StandardizedConv2d, WeightStandardization, standardize
from tests.conftest import COLOR, GRAY, build_model, images_of


def call_with_seed(seed: int, call: Callable[[], Any]) -> Any:
    torch.manual_seed(seed)
    return call()


# ---- what all that act in layers promise


LAYERS: list[tuple[type[Regularizer], str]] = [
    (StochasticDepth, "resnet_small"),
    (StochasticDepth, "vit_tiny"),
    (ShakeDrop, "resnet_small"),
    (ShakeDrop, "vit_tiny"),
    (DropBlock, "resnet_small"),
    (PatchDropout, "vit_tiny"),
]


@pytest.mark.parametrize(("technique", "name"), LAYERS)
def test_strength_zero_is_a_no_op_bit_for_bit(technique: type[Regularizer], name: str) -> None:
    plain = build_model(name, COLOR).train()
    model_at_0 = Plan([technique()], strength=0.0).surgery(build_model(name, COLOR), COLOR).train()
    x = images_of(COLOR, 3)
    outputs = [model(x) for model in (plain, model_at_0)]
    assert outputs[0].equal(outputs[1])
    for logits in outputs:
        logits.square().sum().backward()
    assert all(a.grad.equal(b.grad) for a, b in zip(plain.parameters(), model_at_0.parameters(), strict=True))


@pytest.mark.parametrize(("technique", "name"), LAYERS)
@pytest.mark.parametrize("n", [1, 5])
def test_any_batch_in_bf16_keeps_its_type(technique: type[Regularizer], name: str, n: int) -> None:
    dataset_info = DatasetInfo(4, 19, 30, ("a", "b", "c"), (0.5,) * 4, (0.2,) * 4)
    model = Plan([technique()]).surgery(build_model(name, dataset_info), dataset_info).train()
    records = []
    for kind in ("residual", "conv", "tokens"):
        for site in find_sites(model, kind):
            site.register_forward_hook(lambda m, i, o: records.append((i[0].dtype, o.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images_of(dataset_info, n))
    logits.float().sum().backward()
    assert logits.isfinite().all()
    assert all(before == after for before, after in records)


@pytest.mark.parametrize("technique", [StochasticDepth, ShakeDrop, DropBlock])
def test_a_ramp_turns_the_dials(technique: Any) -> None:
    model = build_model("resnet_small", GRAY)
    technique(p=Ramp[float](start=0.0, end=0.4)).surgery(model, GRAY)
    dials = [m for m in model.modules() if isinstance(m, RampBuffer)]
    assert len(dials) == 3
    for progress in (0.0, 0.5, 1.0):
        for dial in dials:
            dial.update(progress)
            assert dial.value.item() == pytest.approx(0.4 * progress)


@pytest.mark.parametrize(
    ("technique", "name"), [(DropBlock, "vit_tiny"), (GhostBatchNorm, "vit_tiny"), (PatchDropout, "resnet_small")]
)
def test_a_model_without_the_place_is_refused_by_name(technique: type[Regularizer], name: str) -> None:
    with pytest.raises(InputError, match=rf"regularizer\.{technique().name}: .*~regularizer"):
        technique().surgery(build_model(name, GRAY), GRAY)


@pytest.mark.parametrize(
    "technique", [StochasticDepth, ShakeDrop, DropBlock, PatchDropout, GhostBatchNorm, WeightStandardization]
)
def test_a_plain_network_is_refused_by_name(technique: type[Regularizer]) -> None:
    with pytest.raises(InputError, match=rf"regularizer\.{technique().name}: "):
        technique().surgery(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), GRAY)


# ---- stochastic depth


@pytest.mark.formula("stochastic_depth")
def test_stochastic_depth_is_torchvisions_with_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.ops import stochastic_depth

    monkeypatch.setattr(Tensor, "bernoulli_", lambda self, p: self.copy_(torch.rand(self.shape) < p))
    x = torch.randn(64, 3, 5, 4)
    for p in (0.0, 0.3, 0.9):
        ours = call_with_seed(1, lambda p=p: DropPath(p, 1.0).train()(x))
        theirs = call_with_seed(1, lambda p=p: stochastic_depth(x, p, "row", training=True))
        torch.testing.assert_close(ours, theirs)


@pytest.mark.formula("stochastic_depth")
def test_the_rate_is_linear_over_depth_and_the_expectation_is_kept() -> None:
    model = build_model("resnet_small", GRAY)
    model = Plan([StochasticDepth(p=0.6)]).surgery(model, GRAY)
    x = torch.ones(100_000, 1, 1, 1)
    for place, site in enumerate(find_sites(model, "residual"), start=1):
        y = site.train()(x)
        p = 0.6 * place / 3
        torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - p)))
        assert abs((y == 0).double().mean() - p) < 5 * (p * (1 - p) / len(x)) ** 0.5
        assert abs(y.double().mean() - 1) < 5 * (p / (1 - p) / len(x)) ** 0.5
        assert site.eval()(x) is x


def test_a_dropped_branch_is_dropped_whole_and_for_its_image_alone() -> None:
    y = DropPath(0.5, 1.0).train()(torch.ones(64, 7, 8)).flatten(1)
    assert ((y == 0).all(1) | (y == 2).all(1)).all()
    assert 0.2 < (y[:, 0] == 0).float().mean() < 0.8


# ---- DropBlock


@pytest.mark.formula("drop_block")
@pytest.mark.parametrize("shape", [(2, 3, 14, 14), (3, 1, 9, 20), (1, 2, 7, 7), (5, 4, 5, 30), (2, 2, 1, 1)])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_drop_block_is_torchvisions_with_the_same_draws(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], p: float
) -> None:
    from torchvision.ops import drop_block2d

    monkeypatch.setattr(Tensor, "bernoulli_", lambda self, gamma: self.copy_(torch.rand(self.shape) < gamma))
    x = torch.randn(shape)
    for seed in range(5):
        ours = call_with_seed(seed, lambda: drop_blocks(x, torch.tensor(p), 7))
        theirs = call_with_seed(seed, lambda: drop_block2d(x, p, 7))
        torch.testing.assert_close(ours, theirs)


def test_blocks_fit_maps_of_even_side_at_which_torchvisions_fails() -> None:
    from torchvision.ops import drop_block2d

    x = torch.ones(200, 2, 4, 4)
    with pytest.raises(ValueError, match="odd"):
        drop_block2d(x, 0.3, 7)
    y = drop_blocks(x, torch.tensor(0.3), 7)  # 3 × 3 in 4 × 4: every block covers the four in the middle
    mask = (y == 0).flatten(2).any(2)
    assert mask.any()
    assert (y[mask][:, 1:3, 1:3] == 0).all()


def test_what_drop_block_leaves_is_scaled_to_the_same_mean() -> None:
    for p in (0.0, 0.2, 0.9):
        y = drop_blocks(torch.ones(16, 8, 16, 16), torch.tensor(p), 5)
        assert y.double().mean().item() == pytest.approx(1, rel=1e-6)
    everything = drop_blocks(torch.ones(2, 3, 1, 1), torch.tensor(1.0), 7)
    assert everything.equal(torch.zeros(2, 3, 1, 1))


def test_drop_block_keeps_the_memory_format() -> None:
    x = torch.randn(2, 8, 9, 9).contiguous(memory_format=torch.channels_last)
    assert DropBlock2d(0.3, 3).train()(x).is_contiguous(memory_format=torch.channels_last)


def test_an_even_block_is_refused_with_its_neighbors() -> None:
    with pytest.raises(ValueError, match="5 or 7"):
        DropBlock(block_size=6)


# ---- ShakeDrop


@pytest.mark.formula("shake_drop")
def test_shake_drop_draws_what_its_equation_says() -> None:
    n, p = 100_000, 0.4
    x = torch.ones(n, 1, requires_grad=True)
    y = ShakeBranch(p, 1.0).train()(x)
    y.sum().backward()
    forwards, backwards = y.detach().double().flatten() * (1 - p), x.grad.double().flatten() * (1 - p)  # type: ignore[union-attr]
    calm = (forwards - 1).abs() < 1e-6
    assert abs(calm.double().mean() - (1 - p)) < 5 * (p * (1 - p) / n) ** 0.5
    assert ((backwards[calm] - 1).abs() < 1e-6).all(), "b is the same forward and backward"
    alpha, beta = forwards[~calm], backwards[~calm]
    sigma = len(alpha) ** -0.5
    assert alpha.min() >= -1
    assert alpha.max() <= 1
    assert beta.min() >= 0
    assert beta.max() <= 1
    assert abs(alpha.mean()) < 5 * sigma * (1 / 3) ** 0.5
    assert abs(beta.mean() - 0.5) < 5 * sigma * (1 / 12) ** 0.5
    assert abs(alpha.var() - 1 / 3) < 0.01
    assert abs(beta.var() - 1 / 12) < 0.005
    assert abs(torch.corrcoef(torch.stack([alpha, beta]))[0, 1]) < 5 * sigma
    assert abs(y.double().mean() - 1) < 0.02, "inference is the expectation"


def test_shake_drop_is_linear_over_depth_and_each_image_has_its_own_factor() -> None:
    model = build_model("vit_tiny", GRAY)
    Plan([ShakeDrop(p=0.8)]).surgery(model, GRAY)
    for place, site in enumerate(find_sites(model, "residual"), start=1):
        p = 0.8 * place / 4
        y = site.train()(torch.ones(4000, 2, 3)) * (1 - p)
        assert y.flatten(1).std(1).max() < 1e-6
        assert abs(((y[:, 0, 0] - 1).abs() < 1e-6).float().mean() - (1 - p)) < 5 * (p * (1 - p) / 4000) ** 0.5
        assert site.eval()(y) is y


def test_shake_drop_is_refused_beside_stochastic_depth() -> None:
    (problem,) = find_conflicts([StochasticDepth(), ShakeDrop()])
    assert "same residual branches" in str(problem)


def test_stochastic_layers_compile_into_one_graph_that_turning_the_dial_keeps() -> None:
    layers = nn.Sequential(DropPath(0.2, 0.5), ShakeBranch(0.3, 1.0), DropBlock2d(0.2, 3)).train()
    graphs = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled_layers = torch.compile(layers, backend=backend, fullgraph=True)
    x = torch.randn(2, 3, 6, 6)
    for p in (0.2, 0.0, 0.7):
        for dial in (m for m in layers.modules() if isinstance(m, RampBuffer)):
            dial.value.fill_(p)
        torch.testing.assert_close(call_with_seed(3, lambda: compiled_layers(x)), call_with_seed(3, lambda: layers(x)))
    assert len(graphs) == 1


# ---- weight standardization


@pytest.mark.formula("weight_standardization")
def test_weights_are_standardized_in_float64_and_ws_of_a_standardized_weight_is_itself() -> None:
    w = torch.randn(6, 4, 3, 3, dtype=torch.float64) * 3 + 1
    expected = torch.stack([(f - f.mean()) / ((f - f.mean()).square().mean() + 1e-5).sqrt() for f in w])
    torch.testing.assert_close(standardize(w, 1e-5), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(standardize(5 * w - 2, 1e-12), standardize(w, 1e-12), rtol=1e-9, atol=1e-9)


def test_a_filter_of_equal_weights_has_a_finite_gradient() -> None:
    w = torch.zeros(2, 3, 3, 3, requires_grad=True)
    (standardize(w, 1e-5) * torch.randn(2, 3, 3, 3)).sum().backward()
    assert w.grad is not None
    assert w.grad.isfinite().all()


def test_the_gradient_goes_through_the_standardization() -> None:
    w = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: standardize(v, 1e-5), w)


@pytest.mark.formula("weight_standardization")
@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": 1, "bias": False}, {"groups": 2, "padding_mode": "reflect", "padding": 2}]
)
def test_a_standardized_convolution_is_torchs_with_standardized_weights(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, **options)
    ours = StandardizedConv2d(conv, 1e-5)
    assert ours.weight is conv.weight
    assert ours.bias is conv.bias
    x = torch.randn(2, 4, 9, 9)
    y = ours(x)
    with torch.no_grad():
        conv.weight.copy_(F.batch_norm(conv.weight.view(1, 6, -1), None, None, training=True, eps=1e-5).view_as(conv.weight))
    torch.testing.assert_close(y, conv(x), rtol=1e-4, atol=1e-5)


def test_every_convolution_is_standardized_but_single_weights() -> None:
    model = build_model("resnet_small", COLOR)
    before = dict(model.named_parameters())
    WeightStandardization().surgery(model, COLOR)
    assert all(isinstance(m, StandardizedConv2d) for m in model.modules() if isinstance(m, nn.Conv2d))
    assert all(p is before[name] for name, p in model.named_parameters())
    net = nn.Sequential(nn.Conv2d(4, 4, 1, groups=4), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1))
    WeightStandardization().surgery(net, COLOR)
    assert [type(m) is StandardizedConv2d for m in net] == [False, True, True]
    with pytest.raises(InputError, match="weight_standardization"):
        WeightStandardization().surgery(nn.Sequential(nn.Conv2d(4, 4, 1, groups=4)), COLOR)


# ---- ghost batch normalization


def ghost(channels: int, size: int, **options: Any) -> tuple[nn.BatchNorm2d, GhostBatchNorm2d]:
    plain = nn.BatchNorm2d(channels, **options).double()
    with torch.no_grad():
        plain.weight.uniform_(0.5, 2)
        plain.bias.uniform_(-1, 1)
    twin = nn.BatchNorm2d(channels, **options).double()
    twin.load_state_dict(plain.state_dict())
    return plain, GhostBatchNorm2d(twin, size)


@pytest.mark.formula("ghost_batch_norm")
@pytest.mark.parametrize(
    ("n", "size", "chunks"), [(12, 4, [4, 4, 4]), (11, 4, [6, 5]), (7, 4, [7]), (3, 4, [3]), (9, 4, [5, 4]), (1, 4, [1])]
)
def test_each_chunk_is_normalized_by_itself_and_the_statistics_follow_the_paper(n: int, size: int, chunks: list[int]) -> None:
    plain, ours = ghost(3, size, momentum=0.2)
    x = torch.randn(n, 3, 4, 5, dtype=torch.float64)
    y = ours.train()(x)
    mean, var = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    expected = []
    for chunk in x.split(chunks):
        m, v = chunk.mean((0, 2, 3)), chunk.var((0, 2, 3), correction=0)
        normal = (chunk - m.view(1, 3, 1, 1)) / (v.view(1, 3, 1, 1) + 1e-5).sqrt()
        expected.append(normal * plain.weight.view(1, 3, 1, 1) + plain.bias.view(1, 3, 1, 1))
        mean, var = 0.8 * mean + 0.2 * m, 0.8 * var + 0.2 * chunk.var((0, 2, 3))
    torch.testing.assert_close(y, torch.cat(expected))
    torch.testing.assert_close(ours.running_mean, mean)
    torch.testing.assert_close(ours.running_var, var)
    assert ours.num_batches_tracked == len(chunks)  # type: ignore[comparison-overlap]
    plain.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours.eval()(x), plain.eval()(x), rtol=0, atol=0)


def test_ghost_statistics_rest_in_a_replay_and_can_be_estimated_anew() -> None:
    from regulo.regularizers.components.weight_averaging import update_bn

    model = build_model("resnet_small", GRAY)
    names, parameters = list(model.state_dict()), [id(p) for p in model.parameters()]
    GhostBatchNorm(size=2).surgery(model, GRAY)
    assert list(model.state_dict()) == names
    assert [id(p) for p in model.parameters()] == parameters
    state = {k: v.clone() for k, v in model.state_dict().items()}
    x = images_of(GRAY, 8)
    model.train()
    with frozen_bn_stats(model):
        output = model(x)
    assert all(v.equal(state[k]) for k, v in model.state_dict().items())
    assert model(x).equal(output)
    update_bn(model, [x, x])
    stem = model.conv(x)  # type: ignore[operator]
    torch.testing.assert_close(model.norm.running_mean, stem.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)  # type: ignore[union-attr]


def test_ghosts_come_after_the_norm_that_was_chosen_and_leave_tokens_alone() -> None:
    model = build_model("resnet_small", GRAY)
    Plan([GhostBatchNorm(), Norm(kind="batch")]).surgery(model, GRAY)
    assert all(type(m) is GhostBatchNorm2d for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    for kind in ("group", "none"):
        with pytest.raises(InputError, match="ghost_batch_norm"):
            Plan([GhostBatchNorm(), Norm(kind=kind)]).surgery(build_model("resnet_small", GRAY), GRAY)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="ghost_batch_norm"):
        Plan([GhostBatchNorm(), Norm(kind="batch")]).surgery(build_model("vit_tiny", GRAY), GRAY)


def test_norms_that_carry_sites_keep_them() -> None:
    model = build_model("torchvision", COLOR)
    count = len(find_sites(model, "residual"))
    Plan([GhostBatchNorm(size=2), StochasticDepth(p=0.99)]).surgery(model, COLOR)
    block = model.layer1[1].train()  # type: ignore[index, union-attr]
    records = []
    block.bn2.residual.register_forward_hook(lambda m, i, o: records.append(o))
    block(torch.randn(4, 64, 4, 4))
    assert len(find_sites(model, "residual")) == count
    assert len(records) == 1


# ---- max-norm


@pytest.mark.formula("max_norm")
@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 3, 3)])
def test_the_projection_is_torchs_renorm(shape: tuple[int, ...]) -> None:
    w = torch.randn(shape, dtype=torch.float64) * torch.linspace(0, 3, shape[0], dtype=torch.float64).view(
        -1, *[1] * (len(shape) - 1)
    )
    ours = w.clone()
    project(ours, 2.0)
    torch.testing.assert_close(ours, torch.renorm(w, 2, 0, 2.0), rtol=1e-6, atol=0)
    norms = w.flatten(1).norm(dim=1)
    assert ours[norms <= 2].equal(w[norms <= 2]), "what lies inside does not move"
    assert ours.flatten(1).norm(dim=1).max() <= 2 * (1 + 1e-12)
    last = w.to(memory_format=torch.channels_last) if w.ndim == 4 else w.T.contiguous().T
    project(last, 2.0)
    torch.testing.assert_close(last, ours)


def test_only_weights_are_bounded() -> None:
    for name, free in (("resnet_small", {"norm", "bias"}), ("vit_tiny", {"norm", "bias", "position"})):
        model = build_model(name, COLOR)
        with_max_norm = {id(p) for p in weight_matrices(model)}
        for key, p in model.named_parameters():
            assert (id(p) in with_max_norm) == (p.ndim > 1 and not any(word in key for word in free)), key
    attention = nn.MultiheadAttention(8, 2, add_bias_kv=True)
    assert {id(p) for p in weight_matrices(attention)} == {id(attention.in_proj_weight), id(attention.out_proj.weight)}
    layer = nn.Linear(2, 2)
    assert len(weight_matrices(nn.Sequential(layer, layer))) == 1


def step_once(plan: Plan, progress: float = 0.0) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    optimizer = plan.wrap_optimizer(torch.optim.SGD(layer.parameters(), lr=1.0), layer, lambda: StepContext(0, progress=progress))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = -10 * layer(torch.ones(4, 3)).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).isfinite()  # type: ignore[attr-defined, arg-type]
    return layer


@pytest.mark.parametrize("others", [[], [SAM()]])
def test_weights_are_in_the_ball_after_each_step_and_biases_are_free(others: list[Regularizer]) -> None:
    plain, with_max_norm = step_once(Plan(others)), step_once(Plan([MaxNorm(c=0.5), *others]))
    torch.testing.assert_close(with_max_norm.weight, torch.renorm(plain.weight.detach(), 2, 0, 0.5), rtol=1e-5, atol=1e-6)
    assert with_max_norm.bias.equal(plain.bias)


def test_a_stronger_max_norm_has_a_smaller_ball() -> None:
    assert MaxNorm(c=4.0).with_strength(0) is None
    assert MaxNorm(c=4.0).with_strength(2.0) == MaxNorm(c=2.0)
    ramp = Ramp[float](start=4.0, end=2.0)
    half = MaxNorm(c=ramp).with_strength(0.5)
    assert half is not None
    assert half.c == Ramp[float](start=8.0, end=4.0)
    weight = step_once(Plan([MaxNorm(c=ramp)]), progress=0.5).weight
    torch.testing.assert_close(weight.norm(dim=1), torch.full((2,), 3.0))


# ---- PatchDropout


@pytest.mark.formula("patch_dropout")
@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize(("n", "p", "num_patches"), [(16, 0.25, 12), (16, 0.0, 16), (49, 0.5, 24), (4, 0.99, 1), (1, 0.5, 1)])
def test_each_image_keeps_its_own_patches_once_and_all_leading_tokens(prefix: int, n: int, p: float, num_patches: int) -> None:
    tokens = torch.arange(prefix + n).float().view(1, -1, 1).expand(50, -1, 3)
    out = DropPatches(p, prefix).train()(tokens)
    assert out.shape == (50, prefix + num_patches, 3)
    assert (out[:, :prefix] == tokens[:, :prefix]).all()
    assert (out[..., :1] == out).all(), "a token stays in one piece"
    assert (out[:, 1:, 0] > out[:, :-1, 0]).all(), "in order, hence none twice"
    assert out.max() <= prefix + n - 1
    if 1 < num_patches < n:
        assert len({tuple(row.tolist()) for row in out[..., 0]}) > 10
    assert DropPatches(p, prefix).eval()(tokens) is tokens


@pytest.mark.formula("patch_dropout")
def test_every_patch_is_kept_equally_often() -> None:
    tokens = torch.eye(8).expand(20_000, 8, 8)
    share = DropPatches(0.25, 0).train()(tokens).sum(1).mean(0)
    assert (share - 0.75).abs().max() < 5 * (0.75 * 0.25 / 20_000) ** 0.5


@pytest.mark.parametrize("pool", ["mean", "class"])
def test_a_vit_trains_on_some_patches_and_answers_from_all(pool: str) -> None:
    model = build_model("vit_tiny", GRAY, pool=pool)
    plain = build_model("vit_tiny", GRAY, pool=pool)
    PatchDropout(p=0.5).surgery(model, GRAY)
    records = []
    model.blocks[0].register_forward_hook(lambda m, i, o: records.append(i[0].shape[1]))  # type: ignore[index, union-attr]
    x = images_of(GRAY)
    model.train()(x)
    assert model.eval()(x).equal(plain.eval()(x))
    assert records == [8 + (pool == "class"), 16 + (pool == "class")]
