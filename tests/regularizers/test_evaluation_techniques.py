"""What acts behind training: answers averaged over dropout masks, and a temperature fitted on the validation images."""

import csv
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from regulo.__main__ import main
from regulo.config import compose
from regulo.core import registry
from regulo.core.errors import InputError
from regulo.core.schedule import Ramp
from regulo.core.types import Batch
from regulo.evaluation.inference import restore_ramps, run_inference
from regulo.evaluation.restore import load_run, open_run_data
from regulo.models.components.classifier import Classifier
from regulo.models.components.sites import RateSite, Site, find_sites
from regulo.regularizers.base import Goal, used_hooks
from regulo.regularizers.components.plan import Plan, find_conflicts
from regulo.regularizers.dropout import Dropout
from regulo.regularizers.early_stopping import EarlyStopping
from regulo.regularizers.mc_dropout import MCDropout, summarize_passes
from regulo.regularizers.temperature_scaling import TemperatureScaling, temperature
from regulo.tracking import checkpoint_io
from regulo.tracking.run_dir import RunFolder
from tests.conftest import COLOR, GRAY, build_model, images_of, rng
from tests.regularizers.flow import family, highest, rampable, technique, train

# ---- MC dropout

FEATURES, P = 6, 0.3


def tiny_net() -> nn.Sequential:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, FEATURES), nn.ReLU(), Site("fc"), nn.Linear(FEATURES, 3)).eval()
    with torch.no_grad():
        net[4].weight.mul_(4)  # type: ignore[union-attr, operator]
    find_sites(net, "fc")[0].insert(nn.Dropout(P))
    return net


def enumerate_masks(net: nn.Sequential, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean prediction, its entropy and the mutual information over all 2^6 masks with their probabilities, in float64."""
    one, two = (net[i].double() for i in (1, 4))
    h = one(x.double().flatten(1)).relu()
    mean, expected = torch.zeros(len(x), 3, dtype=torch.float64), torch.zeros(len(x), dtype=torch.float64)
    for bits in itertools.product((0.0, 1.0), repeat=FEATURES):
        mask = torch.tensor(bits, dtype=torch.float64)
        weight = float((mask * (1 - P) + (1 - mask) * P).prod())
        p = two(h * mask / (1 - P)).softmax(1)
        mean += weight * p
        expected -= weight * (p * p.log()).sum(1)
    total = -(mean * mean.log()).sum(1)
    net.float()
    return mean, total, total - expected


@pytest.mark.formula("mc_dropout")
def test_mc_dropout_converges_to_the_mean_over_all_masks() -> None:
    net, x = tiny_net(), torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean, total, mutual = enumerate_masks(net, x)
        torch.manual_seed(0)
        samples = 3000
        outputs = MCDropout.model_construct(samples=samples).infer(net, x)
    assert outputs["logits"].dtype == torch.float32
    error = (outputs["logits"].double().exp() - mean).abs().max()
    assert error < 4.5 * 0.5 / samples**0.5, "a mean of numbers in [0, 1] has a standard error of .5 / √S at most"
    torch.testing.assert_close(outputs["entropy"].double(), total, atol=0.04, rtol=0)
    torch.testing.assert_close(outputs["mutual_information"].double(), mutual, atol=0.04, rtol=0)
    assert (mutual > 0.05).any(), "the masks do disagree"


@pytest.mark.formula("mc_dropout")
def test_entropy_and_mutual_information_are_their_formulas() -> None:
    p = torch.tensor([[[1.0, 0.0], [0.5, 0.5], [0.9, 0.1]], [[0.0, 1.0], [0.5, 0.5], [0.6, 0.4]]], dtype=torch.float64)
    outputs = summarize_passes(p.clamp(min=1e-300).log())
    h = lambda q: -(q * np.log(q) + (1 - q) * np.log(1 - q))  # noqa: E731
    torch.testing.assert_close(outputs["logits"].exp(), p.mean(0))
    expected = torch.tensor([np.log(2), np.log(2), h(0.75)])
    torch.testing.assert_close(outputs["entropy"], expected)
    # certain but contradictory; agreed on a coin; in between
    torch.testing.assert_close(outputs["mutual_information"], torch.tensor([np.log(2), 0, h(0.75) - (h(0.9) + h(0.6)) / 2]))


def test_the_mutual_information_is_never_negative_and_no_answer_is_infinite() -> None:
    generator = torch.Generator().manual_seed(0)
    for samples, scale in ((1, 1.0), (2, 1e-3), (7, 10.0), (3, 1e4)):
        log_p = (scale * torch.randn(samples, 64, 5, generator=generator)).log_softmax(2)
        outputs = summarize_passes(log_p)
        assert all(v.isfinite().all() for v in outputs.values())
        assert (outputs["mutual_information"] >= 0).all()
        assert (outputs["mutual_information"] <= outputs["entropy"] + 1e-6).all()


@pytest.mark.parametrize("name", ["resnet_small", "vit_tiny", "torchvision"])
def test_layers_that_do_not_draw_give_the_plain_answer_and_no_mutual_information(name: str) -> None:
    model, x = build_model(name, COLOR).eval(), images_of(COLOR)
    with torch.inference_mode():
        outputs = MCDropout(samples=3).infer(model, x)
        torch.testing.assert_close(outputs["logits"], model(x).log_softmax(1))
    torch.testing.assert_close(outputs["mutual_information"], torch.zeros(len(x)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("training", [False, True])
def test_only_what_draws_is_in_training_mode_and_the_modes_come_back(training: bool) -> None:
    model = build_model("resnet_small", COLOR)
    Dropout(fc=0.5, conv=Ramp(start=0.2, end=0.2)).surgery(model, COLOR)  # type: ignore[arg-type]
    model.train(training)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    with torch.no_grad():
        outputs = MCDropout(samples=4).infer(model, images_of(COLOR, 8))
    assert [m.training for m in model.modules()] == modes
    assert all(v.equal(state[k]) for k, v in model.state_dict().items()), "BatchNorm keeps its statistics"
    assert (outputs["mutual_information"] > 0).all()
    model.eval()
    alone = [MCDropout(samples=1).infer(model, images_of(COLOR, n))["logits"][0] for n in (1, 8)]
    assert all(a.isfinite().all() for a in alone), "BatchNorm in training mode refuses a batch of one"


@pytest.mark.parametrize("fields", [{"fc": 0.5}, {"attention": 0.5}, {"attention": Ramp(start=0.5, end=0.5)}])
@pytest.mark.parametrize("name", ["vit_tiny", "vit_b_32"])
def test_every_place_of_dropout_draws(name: str, fields: dict[str, Any]) -> None:
    if name == "vit_b_32":
        pytest.importorskip("torchvision")
        attention = nn.MultiheadAttention(8, 2, batch_first=True)
        attention.add_module("site", RateSite("attention", attention, "dropout"))
        attention.site.set_rate(fields.get("attention", 0.0))  # type: ignore[union-attr, operator]

        class Attends(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.attention, self.site, self.head = attention, Site("fc"), nn.Linear(8, 5)
                self.site.insert(nn.Dropout(fields.get("fc", 0.0)))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                tokens = x.flatten(1)[:, :64].view(-1, 8, 8)
                return self.head(self.site(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1)))

        model: nn.Module = Attends()
    else:
        model = build_model(name, COLOR)
        Dropout(**({"fc": 0.0} | fields)).surgery(model, COLOR)
    with torch.inference_mode():
        outputs = MCDropout(samples=5).infer(model.eval(), images_of(COLOR))
    assert (outputs["mutual_information"] > 1e-6).all()


def test_repeated_answers_are_equal_to_the_last_digit_whatever_was_drawn_before() -> None:
    plan = Plan([Dropout(fc=0.5), MCDropout(samples=3)])
    classifier = Classifier(plan.surgery(build_model("resnet_small", GRAY), GRAY), GRAY, "contiguous")
    whole = Batch(torch.from_numpy(rng().integers(0, 256, (6, 1, 28, 28), dtype="uint8")), torch.arange(6), torch.arange(6))
    loader: Any = DataLoader([Batch(*(t[:4] for t in whole)), Batch(*(t[4:] for t in whole))], batch_size=None)  # type: ignore[arg-type]
    outputs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        outputs.append(run_inference(classifier, loader, torch.device("cpu"), "32-true", plan))
        assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(seed)), "the run's draws go on"
    assert outputs[0].logits.equal(outputs[1].logits)
    assert set(outputs[0].extras) == {"entropy", "mutual_information"}
    assert all(v.equal(outputs[1].extras[k]) and v.shape == (6,) for k, v in outputs[0].extras.items())
    assert outputs[0].scores()["mutual_information"] > 0


@pytest.mark.parametrize(
    "name", [n for n in registry.list_plugins("regularizer") if "surgery" in used_hooks(registry.get_plugin("regularizer", n)())]
)
def test_a_model_that_has_trained_draws_the_answers_of_the_one_rebuilt_from_its_weights(name: str) -> None:
    checkpoint = {"epoch": 0, "regulo": {"config": {"trainer": {"max_epochs": 2}}}}
    ramps = {f: {"start": 0.0, "end": v} for f in rampable(name) if (v := highest(name, f))}
    both = [technique(name, **ramps), technique("mc_dropout", samples=2), *([technique("dropout")] if name != "dropout" else [])]
    if find_conflicts(both):
        pytest.skip("the plan refuses it")
    plan = Plan(both)
    model_name, trained_model = family(plan, GRAY)
    train(plan, trained_model, GRAY)
    rebuilt = plan.surgery(build_model(model_name, GRAY), GRAY)
    rebuilt.load_state_dict(trained_model.state_dict())
    batch = Batch(torch.from_numpy(rng().integers(0, 256, (6, 1, 28, 28), dtype="uint8")), torch.arange(6), torch.arange(6))
    loader: Any = DataLoader([batch], batch_size=None)  # type: ignore[arg-type]
    outputs = []
    for model in (trained_model, rebuilt):
        classifier = Classifier(model, GRAY, "contiguous")
        restore_ramps(classifier, checkpoint)
        outputs.append(run_inference(classifier, loader, torch.device("cpu"), "32-true", plan))
    assert outputs[0].logits.equal(outputs[1].logits)
    assert outputs[0].extras["mutual_information"].equal(outputs[1].extras["mutual_information"])


def test_mc_dropout_without_dropout_is_refused() -> None:
    with pytest.raises(InputError, match=r"regularizer.mc_dropout: .*the model has none.*\+regularizer=dropout"):
        compose.load_config(["regularizer=[mc_dropout]"])


# ---- temperature


def draw_calibrated_logits(t: float, n: int = 40_000, k: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (n, k) and labels that softmax(z / t) has drawn."""
    z = 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = (z / t).softmax(1)
    labels = torch.multinomial(p, 1, generator=torch.Generator().manual_seed(1)).squeeze(1)
    return z, labels


@pytest.mark.formula("temperature_scaling")
@pytest.mark.parametrize("t", [0.3, 1.0, 2.5])
def test_the_temperature_is_the_argmin_of_a_fine_grid(t: float) -> None:
    z, labels = draw_calibrated_logits(t, n=1000)
    grid = np.geomspace(0.05, 20, 10_000)
    best = min(grid[::50], key=lambda g: float(cross_entropy(z / g, labels)))
    near = grid[(grid > best / 1.03) & (grid < best * 1.03)]
    best = min(near, key=lambda g: float(cross_entropy(z / g, labels)))
    assert temperature(z.float(), labels) == pytest.approx(best, rel=8e-4)


@pytest.mark.formula("temperature_scaling")
def test_a_planted_temperature_is_found_and_follows_the_scale_of_the_logits() -> None:
    for t in (0.5, 1.0, 4.0):
        z, labels = draw_calibrated_logits(t)
        fit = temperature(z, labels)
        assert fit == pytest.approx(t, rel=0.03)
        assert temperature(3 * z, labels) == pytest.approx(3 * fit, rel=1e-9)
        assert temperature(z + 100 * torch.randn(len(z), 1, dtype=torch.float64), labels) == pytest.approx(fit, rel=1e-9)


@pytest.mark.parametrize("scale", [0.1, 1.0, 6.0, 15.0])
def test_the_minimum_is_stationary_where_newtons_method_alone_would_leave_the_range(scale: float) -> None:
    z, labels = draw_calibrated_logits(1.0, n=500)
    fit = temperature(scale * z, labels)
    assert 0.06 < fit < 19
    beta = torch.tensor(1 / fit, dtype=torch.float64, requires_grad=True)
    cross_entropy(beta * scale * z, labels).backward()
    assert abs(float(beta.grad)) < 1e-8 * scale  # type: ignore[arg-type]


def test_the_temperature_stays_finite_where_there_is_no_minimum() -> None:
    right = torch.eye(4).repeat(5, 1)
    labels = torch.arange(4).repeat(5)
    assert temperature(right, labels) == pytest.approx(0.05)
    assert temperature(-right, labels) == pytest.approx(20)
    assert temperature(1e4 * right, labels.roll(1)) == pytest.approx(20)
    assert temperature(torch.zeros(20, 4), labels) == 1.0, "every temperature is as good"
    assert temperature(torch.tensor([[1.0, 2.0]]), torch.tensor([1])) == pytest.approx(0.05), "a single image"


def test_the_temperature_changes_no_answer() -> None:
    z, labels = draw_calibrated_logits(2.0, n=1000)
    t = TemperatureScaling().calibrate(z, labels)
    assert (z / t).argmax(1).equal(z.argmax(1))
    assert cross_entropy(z / t, labels) < cross_entropy(z, labels)


# ---- early stopping


@pytest.mark.formula("early_stopping")
@pytest.mark.parametrize("patience", [1, 2, 5])
def test_a_run_stops_when_the_argmin_lies_patience_epochs_back(patience: int) -> None:
    for seed in range(50):
        losses = rng(seed).integers(0, 12, 40).astype(float)  # with ties
        for mode in ("min", "max"):
            better = losses if mode == "min" else -losses
            first = next(n for n in range(40) if n - int(better[: n + 1].argmin()) >= patience)
            (callback,) = EarlyStopping(patience=patience).callbacks(Goal("val/x", mode))  # type: ignore[arg-type]
            stops = [bool(callback._evaluate_stopping_criteria(torch.tensor(loss))[0]) for loss in losses[: first + 1]]  # type: ignore[attr-defined]
            assert stops.index(True) == first
    assert Plan([EarlyStopping()]).keeps_best, "and the final weights are those of the argmin"


# ---- end to end


@pytest.fixture
def scores(capsys: pytest.CaptureFixture[str]) -> Any:
    """What `regulo evaluate` prints of a run."""

    def evaluate(folder: Path) -> dict[str, float]:
        capsys.readouterr()
        assert main(["evaluate", str(folder)]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return evaluate


def test_a_run_with_both_is_scored_again_to_the_last_digit_and_predicts_as_it_scores(
    run: Any, scores: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import cv2

    both = "regularizer=[dropout,mc_dropout,temperature_scaling]"
    folder, result = run(both, "regularizer.mc_dropout.samples=3", "regularizer.dropout.fc={start:0,end:0.6}")
    again = scores(folder)
    assert {k: v for k, v in result.items() if k in again} == again
    assert 0 < again["test/mutual_information"] < again["test/entropy"]
    t = result["temperature"]
    assert json.loads((folder / "calibration.json").read_text()) == {"temperature": t}
    assert 0.05 <= t <= 20
    assert t != 1

    run_again = load_run(RunFolder.open(folder))
    site = find_sites(run_again.classifier.model, "fc")[0]
    assert float(site.inner[0].rate.value) == pytest.approx(0.6), "the ramp stands where the final weights were trained"
    images = rng().integers(0, 256, (2, 28, 28), dtype="uint8")
    for i, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
    assert main(["predict", str(folder), *(str(tmp_path / f"{i}.png") for i in range(2))]) == 0
    probabilities = [float(row["probability"]) for row in csv.DictReader(capsys.readouterr().out.splitlines())]
    torch.manual_seed(0)
    with torch.inference_mode():
        outputs = run_again.plan.infer(
            run_again.classifier.model, run_again.classifier.normalize(torch.from_numpy(images)[:, None])
        )
    expected = (outputs["logits"] / t).softmax(1).amax(1).tolist()
    assert probabilities == pytest.approx(expected, abs=1e-4)


def test_the_temperature_is_fitted_on_validation_lowers_its_nll_and_touches_no_weight(run: Any) -> None:
    plain_folder, plain = run("regularizer=none", name="plain")
    folder, result = run("regularizer=temperature_scaling", name="scaled")
    assert result["val/loss"] < plain["val/loss"]
    for split in ("train_clean", "val", "test"):
        assert result[f"{split}/acc"] == plain[f"{split}/acc"]
    states = [checkpoint_io.read_checkpoint(f / "checkpoints" / "last.ckpt")["state_dict"] for f in (plain_folder, folder)]
    assert all(v.equal(states[1][k]) for k, v in states[0].items())
    assert not (plain_folder / "calibration.json").exists()
    assert "temperature" not in plain


# ---- flips


@pytest.mark.formula("flip_tta")
def test_the_prediction_is_the_mean_over_an_image_and_its_mirror_image() -> None:
    model, x = build_model("resnet_small", COLOR).eval(), images_of(COLOR)
    with torch.no_grad():
        one, other = (model(view).double().softmax(1) for view in (x, torch.from_numpy(x.numpy()[..., ::-1].copy())))
        assert not torch.allclose(one, other)
        logits = Plan([technique("flip_tta")]).infer(model, x)["logits"]
    torch.testing.assert_close(logits.double().softmax(1), (one + other) / 2, rtol=1e-5, atol=1e-6)


def test_the_flip_is_in_the_scores_of_the_run_and_beside_monte_carlo_dropout_it_is_refused(run: Any) -> None:
    folder, result = run("regularizer=flip_tta")
    loaded = dataclasses.replace(load_run(RunFolder(folder)), plan=Plan([]))
    plain = loaded.predict_loader(open_run_data(loaded).evaluation_loader("test")).scores()["loss"]
    assert abs(plain - result["test/loss"]) > 1e-6
    with pytest.raises(InputError, match=r"mc_dropout.*flip_tta|flip_tta.*mc_dropout"):
        compose.load_config(["regularizer=[dropout,mc_dropout,flip_tta]"])
