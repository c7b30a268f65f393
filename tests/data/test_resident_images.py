"""Images that stay on the device: the same batches on any number of ranks, in batches of any size, and after a resume."""

import functools
import json
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from regulo.__main__ import main
from regulo.config import compose
from regulo.core.errors import InputError
from regulo.core.types import Batch, DatasetInfo, Split
from regulo.data.base import DatasetConfig, Splits
from regulo.data.components.datamodule import ImageDataModule
from regulo.data.components.resident_images import ResidentImages
from regulo.data.components.sampler import TrainBatchSampler
from regulo.data.image_folder import ImageFolder
from regulo.regularizers.augment import Augment
from regulo.regularizers.balanced_sampling import BalancedSampling
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.plan import Plan
from regulo.regularizers.mixup import Mixup
from regulo.regularizers.rand_augment import RandAugment
from regulo.regularizers.repeated_augmentation import RepeatedAugmentation
from regulo.training import placement
from regulo.training.build import build_components
from regulo.training.placement import place_images
from tests.conftest import COLOR, FAST, FinishedRun, rng

CPU = torch.device("cpu")
PLAN = Plan([Augment(padding=0.2, rotate=10.0, jitter=0.4), BalancedSampling(), RepeatedAugmentation(repeats=2)])


def split(n: int, seed: int = 0, channels: int = 3) -> Split:
    return Split(rng(seed).integers(0, 256, (n, 16, 16, channels), dtype="uint8"), np.arange(n) % 3 // 2)


def splits(channels: int = 3) -> Splits:
    info = DatasetInfo(channels, 16, 16, ("a", "b"), (0.5,) * channels, (0.2,) * channels)
    return Splits(split(60, 0, channels), split(20, 1, channels), split(30, 2, channels), info)


def data_module(device: torch.device | None, plan: Plan = PLAN, batch_size: int = 12, channels: int = 3) -> ImageDataModule:
    transform = functools.partial(plan.transform_batch, seed=3)
    config = DatasetConfig(batch_size=batch_size, num_workers=0, clean_subset=7)
    return ImageDataModule(config, splits(channels), 3, sequence=plan.sequence, device=device, batch_transform=transform)


def training_batches(epoch: int, rank: int = 0, world: int = 1, start: int = 0, size: int = 12) -> list[Batch]:
    """The batches of a rank with a global batch of `size`, from step `start` of an epoch on."""
    data = data_module(CPU)
    sampler = TrainBatchSampler(60, size // world, 3, rank, world, data.sequence, (epoch, start))
    return [data.train_dataset.__getitems__(keys) for keys in sampler]


def images_by_visit(batches: list[Batch]) -> list[tuple[int, bytes]]:
    """Index and pixels of each image, in a fixed order."""
    return sorted((int(i), x.numpy().tobytes()) for batch in batches for i, x in zip(batch.indices, batch.images, strict=True))


# ---- what a batch depends on


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_see_together_what_one_rank_sees_bit_for_bit(world: int) -> None:
    alone = training_batches(epoch=1)
    ranks = [training_batches(1, rank, world) for rank in range(world)]
    for step, batch in enumerate(alone):
        assert images_by_visit([rank[step] for rank in ranks]) == images_by_visit([batch])


def test_a_batch_is_the_same_after_a_resume_and_in_batches_of_any_size() -> None:
    whole, rest = training_batches(epoch=2), training_batches(epoch=2, start=3)
    assert len(rest) == len(whole) - 3
    assert all(a.images.equal(b.images) and a.labels.equal(b.labels) for a, b in zip(whole[3:], rest, strict=True))
    assert images_by_visit(training_batches(epoch=2, size=20)) == images_by_visit(whole)


def test_every_epoch_and_every_visit_of_an_image_is_drawn_anew() -> None:
    epochs = [images_by_visit(training_batches(epoch)) for epoch in (0, 1)]
    for visits in epochs:
        assert len({pixels for _, pixels in visits}) == len(visits) == 60
        assert len({index for index, _ in visits}) < 40, "visits are repeated"
    assert not {pixels for _, pixels in epochs[0]} & {pixels for _, pixels in epochs[1]}


@pytest.mark.parametrize("channels", [1, 3])
def test_without_augmentation_both_ways_give_the_same_bits(channels: int) -> None:
    ways = [data_module(device, Plan([]), channels=channels) for device in (None, CPU)]
    for name in ("train_clean", "val", "test", "train"):
        one, other = [list(d.train_dataloader() if name == "train" else d.evaluation_loader(name)) for d in ways]
        for a, b in zip(one, other, strict=True):
            assert all(x.equal(y) and x.stride() == y.stride() for x, y in zip(a, b, strict=True))


def test_batches_own_their_pixels() -> None:
    """What a technique does to a batch in place does not reach the images."""
    data = ResidentImages(split(4), CPU)
    batch = data.__getitems__([(0, 1, 0), (0, 2, 0)])
    batch.images.zero_()
    assert data.__getitems__([(0, 1, 0)]).images.any()
    assert data.split.images[1].any()


# ---- where images stay


def place(regularizers: list[Regularizer], **fields: Any) -> placement.Placement:
    return place_images(DatasetConfig(**fields), splits(), Plan(regularizers), CPU)


def test_auto_takes_the_device_if_all_that_augments_has_a_batched_form() -> None:
    assert str(place([Augment(), Mixup()])) == (
        "images stay on the device (cpu): they take 84.5 kB, and are augmented there in whole batches (augment)"
    )
    assert str(place([Mixup()])) == "images stay on the device (cpu): they take 84.5 kB"
    assert str(place([Augment(), RandAugment()])) == (
        "images come from the loader: rand_augment: no batched form, which changes whole batches"
    )
    assert str(place([Augment()], device="loader")) == "images come from the loader: data.device=loader"


def test_images_that_are_large_or_lie_in_files_come_from_the_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    files = place_images(ImageFolder(root="x"), splits(), Plan([]), CPU)
    assert str(files) == "images come from the loader: they are read from files"
    other_size = Splits(splits().train, splits().val, splits().test, COLOR)
    assert place_images(DatasetConfig(), other_size, Plan([]), CPU).choice == "loader"
    monkeypatch.setattr(placement, "free_device_memory", lambda device: 100_000)
    assert str(place([])).endswith("they take 84.5 kB, which is more than 20% of the 100 kB that are free (cpu)")
    monkeypatch.setattr(placement, "free_device_memory", lambda device: 500_000)
    assert place([]).choice == "device"


def test_the_device_is_refused_where_it_cannot_be(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    with pytest.raises(InputError, match=r"data.device: the images cannot stay on the device: rand_augment: no batched form"):
        place([RandAugment()], device="device")
    words = ["train", *FAST, "+regularizer=rand_augment", "data.device=device", f"run_dir={tmp_path / 'run'}"]
    assert main(words) == 2
    assert "data.device=auto" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_says_and_keeps_where_its_images_are(
    finished_run: FinishedRun, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "images stay on the device (cpu): they take 8.6 MB, and are augmented there in whole batches (augment)"
    assert line in finished_run.output.splitlines()
    assert json.loads((finished_run.folder / "data.json").read_text())["placement"] == line
    assert yaml.safe_load((finished_run.folder / "config.yaml").read_text())["data"]["device"] == "device"
    folder, _ = run("regularizer=[augment,trivial_augment]", "trainer=cpu")
    line = "images come from the loader: trivial_augment: no batched form, which changes whole batches"
    assert line in capsys.readouterr().out.splitlines()
    assert json.loads((folder / "data.json").read_text())["placement"] == line
    assert yaml.safe_load((folder / "config.yaml").read_text())["data"]["device"] == "loader"


def test_the_default_plan_stays_on_the_device_and_the_way_decides_the_pixels_of_training_only() -> None:
    ways = [build_components(compose.load_config(["trainer=cpu", f"data.device={way}"])).data for way in ("auto", "loader")]
    assert [type(data.train_dataset).__name__ for data in ways] == ["ResidentImages", "BatchedImages"]
    one, other = [data.example_batch() for data in ways]
    assert one.labels.equal(other.labels)
    assert not one.images.equal(other.images)
    one, other = [next(iter(data.evaluation_loader("test"))) for data in ways]
    assert all(a.equal(b) for a, b in zip(one, other, strict=True))
