"""Each rule finds its bad configuration, and the fix is accepted and solves it. The default and the recipes pass."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from regulo.analysis.doctor.base import RuleFinding, RunCase
from regulo.analysis.doctor.examination import examine, rules, run_rules
from regulo.analysis.doctor.rules.smoothing_with_mixing import smaller_share
from regulo.config import compose
from regulo.core import registry, yaml_files
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
    "ImbalancedClasses": [PHOTOS, "data.root=uneven"],
    "L2UnderAdam": ["optim=adamw", "regularizer.weight_decay.mode=l2"],
    "LabelNoise": ["data.label_noise=0.2"],
    "LayerDecayFromScratch": ["model=vit_tiny", "+regularizer=layer_decay"],
    "LeakedImages": [PHOTOS, "data.root=leaky"],
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


WITHOUT_FIX = {"LeakedImages"}
"""rules about what no override can change"""


@pytest.fixture(scope="module")
def photo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of small images."""
    root = tmp_path_factory.mktemp("photos")
    folders = {
        "sides": {"hand_left": 8, "hand_right": 8, "foot": 8},
        "plain": {"cat": 800, "dog": 800},
        "uneven": {"cat": 60, "dog": 5},
    }
    for folder, counts in folders.items():
        for label, count in counts.items():
            (root / folder / label).mkdir(parents=True)
            for i in range(count):
                pixels = rng(i).integers(0, 256, (8, 8, 3), dtype="uint8")
                Image.fromarray(pixels).save(root / folder / label / f"{i}.png")
    for part in ("train", "val", "test"):
        shutil.copytree(root / "sides", root / "leaky" / part)
    return root


@pytest.fixture
def photo_folders(photo_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `sides` and `plain` valid values of data.root."""
    monkeypatch.chdir(photo_root)


def findings_of(findings: list[RuleFinding], rule: str) -> set[tuple[str, str]]:
    """Key and text of the findings of one rule."""
    why = next(r.why for r in rules() if type(r).__name__ == rule)
    return {(f.key, f.what) for f in findings if f.why == why}


def test_every_rule_has_a_bad_case() -> None:
    assert {type(r).__name__ for r in rules()} == set(BAD)
    assert all(r.__doc__ and r.why and r.reference for r in rules())


@pytest.mark.parametrize("rule", BAD)
@pytest.mark.usefixtures("photo_folders")
def test_a_rule_finds_its_bad_case_and_the_fix_solves_it(rule: str) -> None:
    bad = [*BAD[rule], *(["data.image_size=8"] if PHOTOS in BAD[rule] else [])]
    findings = examine(bad)
    own = findings_of(findings, rule)
    assert own
    assert all(f.severity != "error" for f in findings)
    for finding in (f for f in findings if (f.key, f.what) in own):
        assert bool(finding.fix) == (rule not in WITHOUT_FIX)
        if not finding.fix:
            continue
        after = examine([*bad, *finding.fix])
        assert all(f.severity != "error" for f in after), "the fix is accepted"
        assert (finding.key, finding.what) not in findings_of(after, rule), "and solves it"
        if len(own) == 1:
            assert not findings_of(after, rule)


@pytest.mark.parametrize("optim", registry.list_plugins("optim"))
def test_the_rules_about_optimizers_are_for_each_of_them(optim: str) -> None:
    findings = examine([f"optim={optim}", "optim.lr=50", "regularizer.weight_decay.mode=l2"])
    assert findings_of(findings, "LearningRate")
    assert bool(findings_of(findings, "L2UnderAdam")) == (optim != "sgd")


def test_the_default_has_no_findings() -> None:
    assert examine([]) == []


CIFAR10 = DatasetInfo(3, 32, 32, tuple(f"class {k}" for k in range(10)), (0.5,) * 3, (0.2,) * 3)
IMAGENET: Any = {"class_counts": (1255,) * 1000, "num_val": 25_600, "num_test": 50_000}


@pytest.mark.parametrize("name", yaml_files.list_groups()["experiment"])
def test_a_shipped_recipe_has_no_warning(name: str) -> None:
    config = compose.load_config([f"experiment={name}"])
    if config.data.name == "image_folder":
        side = config.data.side  # type: ignore[attr-defined]
        dataset_info = DatasetInfo(3, side, side, tuple(f"class {k}" for k in range(1000)), (0.5,) * 3, (0.2,) * 3)
        plan = Plan(config.regularizer.values())
        with torch.device("meta"):
            model = config.model.build(dataset_info)
        case = RunCase(config, plan, plan.surgery(model, dataset_info), dataset_info, **IMAGENET)
    elif config.data.name == "cifar10":
        model = config.model.build(CIFAR10)
        case = RunCase(config, Plan(config.regularizer.values()), model, CIFAR10, (4500,) * 10, 5000, 10_000)
    else:
        case = RunCase.of(config)
    assert [f for f in run_rules(case) if f.severity != "note"] == []


@pytest.mark.parametrize("overrides", [["model=vit_tiny"], ["data.batch_size=128"], ["regularizer=none"], ["model=torchvision"]])
def test_usual_runs_have_no_warning(overrides: list[str]) -> None:
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
def test_harmless_cases_are_not_reported(rule: str) -> None:
    """What the rule looks for is there, and harmless."""
    assert not findings_of(examine(HARMLESS[rule]), rule)


@pytest.mark.usefixtures("photo_folders")
def test_a_plan_for_imbalanced_classes_is_only_asked_for_a_monitor_that_counts_them() -> None:
    uneven = [PHOTOS, "data.root=uneven", "data.image_size=8"]
    (with_bce,) = [f for f in examine([*uneven, "+regularizer=bce"]) if f.what.startswith("imbalanced")]
    assert with_bce.fix[0] == "+regularizer=balanced_sampling", "the others cannot run beside bce"
    balanced = [*uneven, "+regularizer=class_weights"]
    (finding,) = [f for f in examine(balanced) if f.what.startswith("imbalanced")]
    assert (finding.severity, finding.fix) == ("note", ("monitor=val/balanced_acc",))
    assert not findings_of(examine([*balanced, *finding.fix]), "ImbalancedClasses")
    assert not findings_of(examine([PHOTOS, "data.root=sides", "data.image_size=8"]), "ImbalancedClasses")


def test_the_strength_of_the_run_counts_in_the_finding_and_in_its_fix() -> None:
    harmless = ["+regularizer=ema", "regularizer.ema.half_life=0.1"]
    assert not findings_of(examine(harmless), "EMAHalfLife")
    strong = [*harmless, "strength=2.9"]
    (finding,) = [f for f in examine(strong) if f.key == "regularizer.ema.half_life"]
    config = compose.load_config([*strong, *finding.fix])
    assert config.regularizer["ema"].half_life * 2.9 == pytest.approx(0.02, rel=0.02)  # type: ignore[attr-defined]


def test_digits_are_a_note_and_a_requested_difference_can_be_a_warning() -> None:
    case = RunCase.of(compose.load_config([]))
    digits = dataclasses.replace(case, dataset_info=dataclasses.replace(case.dataset_info, classes=tuple("0123456789")))
    (finding,) = run_rules(digits)
    assert (finding.severity, finding.key) == ("note", "regularizer.augment.flip")
    (small,) = run_rules(dataclasses.replace(case, difference=0.01))
    assert small.severity == "warning"
    assert "2.0 points" in small.what
    assert "need 4000" in small.what  # .1 (2 / .01)²
    assert not run_rules(dataclasses.replace(case, difference=0.02))


def test_the_smaller_share_is_the_mean_over_samples() -> None:
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
def test_a_refused_run_is_a_finding_with_its_hint_as_the_fix(overrides: list[str], key: str) -> None:
    (finding,) = examine(overrides)
    assert (finding.severity, finding.key) == ("error", key)
    assert finding.fix
    assert all(f.severity != "error" for f in examine([*overrides, *finding.fix]))


def test_an_error_that_no_override_fixes_has_no_fix() -> None:
    (finding,) = examine(["optim.lrr=1"])
    assert finding.severity == "error"
    assert "did you mean lr" in finding.why
    assert finding.fix == ()
