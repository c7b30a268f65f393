"""Each rule on a bad configuration: it is found, the fix is accepted, and cures. The default and the recipes pass."""

import dataclasses
from pathlib import Path

import pytest
import torch
from PIL import Image

from regulo.analysis.doctor.base import RuleFinding, RunCase
from regulo.analysis.doctor.examination import examine, look, rules
from regulo.analysis.doctor.rules.smoothing_with_mixing import smaller_share
from regulo.config import compose
from regulo.core import yaml_files
from regulo.core.types import DatasetInfo
from regulo.regularizers.components.plan import Plan
from tests.conftest import rng

PHOTOS = "data=image_folder"
BAD = {
    "BCEMonitor": ["optim=adamw", "+regularizer=bce"],
    "BCEScale": ["+regularizer=bce", "monitor=val/acc"],
    "DecaySkips": ["regularizer.weight_decay.skip=[]"],
    "DecayTime": ["regularizer.weight_decay.rate=0.2"],
    "DropoutBeforeBatchNorm": ["regularizer.dropout.conv=0.1"],
    "DropoutCapacity": ["model.width=8", "regularizer.dropout.fc=0.5"],
    "EMAFewSteps": ["+regularizer=ema", "regularizer.ema.half_life=0.001"],
    "EMAHalfLife": ["+regularizer=ema", "regularizer.ema.half_life=1.0"],
    "EverythingStrong": ["strength=4"],
    "FewSteps": ["data.batch_size=5000", "optim.lr=2"],
    "FineTuningRate": ["model=torchvision", "model.weights=DEFAULT", "optim.lr=0.3"],
    "IdleGhosts": ["+regularizer=ghost_batch_norm", "regularizer.ghost_batch_norm.size=64"],
    "L2UnderAdam": ["optim=adamw", "regularizer.weight_decay.mode=l2"],
    "LabelNoise": ["data.label_noise=0.2"],
    "LayerDecayFromScratch": ["model=vit_tiny", "+regularizer=layer_decay"],
    "LearningRate": ["optim.lr=5", "~regularizer.weight_decay"],
    "MirroredLabels": [PHOTOS, "data.root=sides"],
    "Patience": ["regularizer.early_stopping.patience=2"],
    "ShortRunMixing": ["trainer.max_epochs=3", "regularizer.early_stopping.patience=3"],
    "SmallBatchNorm": ["data.batch_size=4", "optim.lr=0.02"],
    "SmoothingUnderThreshold": ["optim=adamw", "+regularizer=[bce,label_smoothing]", "regularizer.bce.threshold=0.2"],
    "SmoothingWithMixing": ["+regularizer=label_smoothing", "regularizer.label_smoothing.epsilon=0.4"],
    "SWAUnderAnnealing": ["~regularizer.early_stopping", "+regularizer=swa"],
    "TinyData": ["data.max_train_images=500", "regularizer=weight_decay"],
    "TransformerClip": ["model=vit_tiny", "optim.grad_clip_norm=null"],
    "TransformerWarmup": ["model=vit_tiny", "optim.warmup=0.0"],
    "TwoSofteners": ["+regularizer=[label_smoothing,confidence_penalty]"],
    "ValidationSize": [PHOTOS, "data.root=plain"],
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of small images."""
    root = tmp_path_factory.mktemp("photographs")
    for folder, classes, count in (("sides", ("hand_left", "hand_right", "foot"), 8), ("plain", ("cat", "dog"), 800)):
        for label in classes:
            (root / folder / label).mkdir(parents=True)
            for i in range(count):
                pixels = rng(i).integers(0, 256, (8, 8, 3), dtype="uint8")
                Image.fromarray(pixels).save(root / folder / label / f"{i}.png")
    return root


@pytest.fixture
def folders(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders can be read as `sides` and `plain`."""
    monkeypatch.chdir(photographs)


def keys(found: list[RuleFinding], rule: str) -> set[tuple[str, str]]:
    """What one rule found."""
    why = next(r.why for r in rules() if type(r).__name__ == rule)
    return {(f.key, f.what) for f in found if f.why == why}


def test_every_rule_is_tried() -> None:
    assert {type(r).__name__ for r in rules()} == set(BAD)
    assert all(r.__doc__ and r.why and r.reference for r in rules())


@pytest.mark.parametrize("rule", BAD)
@pytest.mark.usefixtures("folders")
def test_a_rule_finds_its_bad_case_and_the_fix_cures_it(rule: str) -> None:
    bad = [*BAD[rule], *(["data.image_size=8"] if PHOTOS in BAD[rule] else [])]
    found = examine(bad)
    ours = keys(found, rule)
    assert ours
    assert all(f.severity != "error" for f in found)
    for finding in (f for f in found if (f.key, f.what) in ours):
        assert finding.fix
        after = examine([*bad, *finding.fix])
        assert all(f.severity != "error" for f in after), "the fix is accepted"
        assert (finding.key, finding.what) not in keys(after, rule), "and cures"
        if len(ours) == 1:
            assert not keys(after, rule)


def test_there_is_nothing_to_say_of_the_default() -> None:
    assert examine([]) == []


IMAGENET = {"train": 1_255_000, "val": 25_600, "test": 50_000}


@pytest.mark.parametrize("name", yaml_files.list_groups()["experiment"])
def test_a_shipped_recipe_deserves_no_warning(name: str) -> None:
    config = compose.load_config([f"experiment={name}"])
    if config.data.name == "image_folder":
        side = config.data.image_size  # type: ignore[attr-defined]
        facts = DatasetInfo(3, side, side, tuple(f"class {k}" for k in range(1000)), (0.5,) * 3, (0.2,) * 3)
        plan = Plan(config.regularizer.values())
        with torch.device("meta"):
            model = config.model.build(facts)
        case = RunCase(config, plan, plan.surgery(model, facts), facts, **IMAGENET)
    else:
        case = RunCase.of(config)
    assert [f for f in look(case) if f.severity != "note"] == []


@pytest.mark.parametrize("overrides", [["model=vit_tiny"], ["data.batch_size=128"], ["regularizer=none"], ["model=torchvision"]])
def test_usual_runs_deserve_no_warning(overrides: list[str]) -> None:
    assert [f for f in examine(overrides) if f.severity != "note"] == []


HARMLESS = {
    "DropoutBeforeBatchNorm": ["regularizer.dropout.conv=0.1", "+regularizer=norm", "regularizer.norm.kind=group"],
    "Patience": ["regularizer.early_stopping.patience=2", "optim.schedule=constant"],
    "SWAUnderAnnealing": ["~regularizer.early_stopping", "+regularizer=swa", "optim.schedule=constant"],
    "LearningRate": ["data.batch_size=512", "optim.lr=1.6"],
    "SmallBatchNorm": ["model=vit_tiny", "data.batch_size=4", "optim.lr=0.0005"],
    "ShortRunMixing": ["debug=fast"],
    "TransformerWarmup": ["model=vit_tiny", "optim.warmup=0.02"],
    "DecaySkips": ["regularizer.weight_decay.rate=0.0", "regularizer.weight_decay.skip=[]"],
}


@pytest.mark.parametrize("rule", HARMLESS)
def test_false_alarms_stay_out(rule: str) -> None:
    """What the rule looks for is there, and harmless."""
    assert not keys(examine(HARMLESS[rule]), rule)


def test_a_strength_counts_with_the_knob_and_so_does_its_fix() -> None:
    quiet = ["+regularizer=ema", "regularizer.ema.half_life=0.1"]
    assert not keys(examine(quiet), "EMAHalfLife")
    loud = [*quiet, "strength=2.9"]
    (finding,) = [f for f in examine(loud) if f.key == "regularizer.ema.half_life"]
    config = compose.load_config([*loud, *finding.fix])
    assert config.regularizer["ema"].half_life * 2.9 == pytest.approx(0.02, rel=0.02)  # type: ignore[attr-defined]


def test_digits_are_mentioned_and_asked_for_differences_are_warned_of() -> None:
    case = RunCase.of(compose.load_config([]))
    digits = dataclasses.replace(case, facts=dataclasses.replace(case.facts, classes=tuple("0123456789")))
    (finding,) = look(digits)
    assert (finding.severity, finding.key) == ("note", "regularizer.augment.flip")
    (small,) = look(dataclasses.replace(case, difference=0.01))
    assert small.severity == "warning"
    assert "2.0 points" in small.what
    assert "want 4000" in small.what  # .1 (2 / .01)²
    assert not look(dataclasses.replace(case, difference=0.02))


def test_the_smaller_share_of_a_mixture_is_that_of_its_draws() -> None:
    for alpha in (0.2, 0.8, 1.0):
        lam = rng().beta(alpha, alpha, 400_000)
        technique = compose.load_config([f"regularizer.mixup.alpha={alpha}"]).regularizer["mixup"]
        assert smaller_share(technique) == pytest.approx(float((0.5 - abs(lam - 0.5)).mean()), rel=0.01)


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["+regularizer=swa"], "regularizer.swa"),
        (["regularizer=mc_dropout"], "regularizer.mc_dropout"),
        (["regularizer.dropout.attention=0.1"], "regularizer.dropout.attention"),
        (["data.batch_size=1"], "data.batch_size"),
        (["model.depth=-1"], "model.depth"),
        (["regularizer.r_drop.alpha=1"], "regularizer.r_drop"),
    ],
)
def test_a_refusal_is_a_finding_and_its_hint_the_fix(overrides: list[str], key: str) -> None:
    (finding,) = examine(overrides)
    assert (finding.severity, finding.key) == ("error", key)
    assert finding.fix
    assert all(f.severity != "error" for f in examine([*overrides, *finding.fix]))


def test_a_mistake_without_an_override_that_mends_it_says_so() -> None:
    (finding,) = examine(["optim.lrr=1"])
    assert finding.severity == "error"
    assert "did you mean lr" in finding.why
    assert finding.fix == ()
