"""Loaders: the same images whatever the number of workers, new ones each epoch, each image once, none twice."""

import numpy as np
import pytest
import torch

from regulo.core.errors import InputError
from regulo.core.types import DatasetInfo, Split
from regulo.data.base import DatasetConfig, Splits, channel_mean_std
from regulo.data.components.datamodule import ImageDataModule
from regulo.data.components.sampler import EvalBatchSampler, TrainBatchSampler
from regulo.data.components.subsets import fixed_subset, stratified_split, subsample_train
from regulo.regularizers.augment import Augment
from tests.conftest import rng

DATASET_INFOS = DatasetInfo(3, 16, 16, ("a", "b"), (0.5,) * 3, (0.2,) * 3)


def split(n: int, seed: int = 0) -> Split:
    return Split(rng(seed).integers(0, 256, (n, 16, 16, 3), dtype="uint8"), np.arange(n) % 2)


def data_module(workers: int, batch_size: int = 8, seed: int = 0, n: int = 50) -> ImageDataModule:
    splits = Splits(split(n), split(20, 1), split(30, 2), DATASET_INFOS)
    transforms = Augment(padding=0.2).transform([], DATASET_INFOS)
    return ImageDataModule(DatasetConfig(batch_size=batch_size, num_workers=workers), splits, seed, train_transforms=transforms)


def test_evaluation_that_is_cut_off_sees_all_classes_and_a_full_one_keeps_its_order() -> None:
    files = Split(np.arange(40, dtype="uint8").reshape(40, 1, 1, 1), np.repeat([0, 1], 20))  # sorted by class
    for limit, is_cut_off in ((None, False), (5, False), (4, True), (1, True)):
        splits = Splits(files, files, files, DatasetInfo(1, 1, 1, ("a", "b"), (0.5,), (0.2,)))
        data = ImageDataModule(DatasetConfig(batch_size=8, num_workers=0), splits, 0, limit)
        batches = list(data.evaluation_loader("test"))
        images = torch.cat([b.images for b in batches]).flatten()
        labels = torch.cat([b.labels for b in batches])
        assert labels.equal((images >= 20).long())
        shown = data.eval_datasets["test"].split
        assert np.array_equal(shown.images[: len(images)].ravel(), images.numpy()), "predictions lie beside their images"
        assert len(images) == min(40, 8 * (limit or 5))
        assert batches[0].labels.unique().tolist() == ([0, 1] if is_cut_off else [0])
        assert images.equal(torch.arange(40, dtype=torch.uint8)) is not is_cut_off


def epoch_images(data: ImageDataModule, epoch: int) -> list[torch.Tensor]:
    loader = data.train_dataloader()
    loader.batch_sampler.sampler.set_epoch(epoch)  # type: ignore[union-attr]
    return [b.images for b in loader]


def test_images_are_the_same_with_any_number_of_workers_and_new_in_every_epoch() -> None:
    reference = [torch.cat(epoch_images(data_module(0), e)) for e in (0, 1)]
    assert not reference[0].equal(reference[1])
    for workers in (1, 2):
        data = data_module(workers)
        assert torch.cat(epoch_images(data, 0)).equal(reference[0])
        assert torch.cat(epoch_images(data, 1)).equal(reference[1])
    assert not torch.cat(epoch_images(data_module(0, seed=1), 0)).equal(reference[0])


def test_persistent_workers_hear_of_the_next_epoch() -> None:
    """albumentations' own workers repeat their draws in every epoch unless each sample is seeded."""
    loader = data_module(1).train_dataloader()
    images = []
    for number in (0, 1):
        loader.batch_sampler.sampler.set_epoch(number)  # type: ignore[union-attr]
        images.append(torch.cat([b.images for b in loader]))
    reference = [torch.cat(epoch_images(data_module(0), e)) for e in (0, 1)]
    assert images[0].equal(reference[0])
    assert images[1].equal(reference[1])


def test_lightning_sets_the_epoch_of_the_sampler() -> None:
    from lightning.fabric.utilities.data import _set_sampler_epoch

    loader = data_module(0).train_dataloader()
    _set_sampler_epoch(loader, 7)
    assert next(iter(loader.batch_sampler))[0][0] == 7  # type: ignore[arg-type]


def test_batches_leave_the_loader_whole_and_as_uint8() -> None:
    batch = next(iter(data_module(0).train_dataloader()))
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape == (8, 3, 16, 16)
    assert batch.labels.dtype == torch.int64
    assert batch.indices.shape == (8,)


def test_evaluation_is_not_augmented_and_in_order() -> None:
    data = data_module(0)
    for name, source in (("val", split(20, 1)), ("test", split(30, 2))):
        images = torch.cat([b.images for b in data.evaluation_loader(name)])
        assert (images.permute(0, 2, 3, 1).numpy() == source.images).all()
    clean = torch.cat([b.images for b in data.evaluation_loader("train_clean")])
    assert clean.shape[0] == 50


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_one_permutation_and_no_image(world: int) -> None:
    single_rank = [[k[1] for k in keys] for keys in TrainBatchSampler(96, 4 * world, seed=0, rank=0, world=1)]
    ranks = [[[k[1] for k in keys] for keys in TrainBatchSampler(96, 4, 0, r, world)] for r in range(world)]
    assert {len(r) for r in ranks} == {len(single_rank)}
    for step, images in enumerate(single_rank):
        all_ranks = [i for r in ranks for i in r[step]]
        assert sorted(all_ranks) == sorted(images), "R ranks at batch B see what one rank sees at batch R·B"
    assert len({i for r in ranks for keys in r for i in keys}) == 96 // (4 * world) * 4 * world


@pytest.mark.parametrize("batch_size", [2, 4, 64])
@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("n", [8, 10, 23, 100])
def test_evaluation_sees_every_image_once_on_any_number_of_ranks(n: int, world: int, batch_size: int) -> None:
    ranks = [list(EvalBatchSampler(n, batch_size, r, world)) for r in range(world)]
    assert sorted(i for r in ranks for keys in r for _, i, _ in keys) == list(range(n))
    assert len({len(r) for r in ranks}) == 1, "all ranks take part in every collective"
    assert all(0 < len(keys) <= batch_size for r in ranks for keys in r)


def test_fewer_images_than_a_batch_make_one_batch() -> None:
    assert [len(b) for b in TrainBatchSampler(5, 128, 0, 0, 1)] == [5]


def test_every_epoch_leaves_out_other_images() -> None:
    batches = TrainBatchSampler(10, 8, 0, 0, 1)
    missing = []
    for number in range(20):
        batches.sampler.set_epoch(number)
        missing.append(frozenset(range(10)) - {i for keys in batches for _, i, _ in keys})
    assert len(set(missing)) > 10


def test_splits_are_stratified_and_repeat() -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    rest, subset = stratified_split(labels, 0.2, seed=0)
    assert np.bincount(labels[subset]).tolist() == [20, 10, 2]
    assert sorted([*rest, *subset]) == list(range(160))
    assert (stratified_split(labels, 0.2, seed=0)[1] == subset).all()
    assert not (stratified_split(labels, 0.2, seed=1)[1] == subset).all()
    assert len(fixed_subset(5, 1000)) == 5


def test_mean_and_std_are_those_of_numpy() -> None:
    images = rng().integers(0, 256, (20, 5, 6, 3), dtype="uint8")
    mean, std = channel_mean_std(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), atol=1e-6)


def test_a_misspelled_transform_argument_is_an_error() -> None:
    import albumentations as A

    from regulo.data.components.image_io import strict_arguments

    with pytest.raises(UserWarning, match="probability"), strict_arguments():
        A.HorizontalFlip(probability=0.5)


def test_the_agpl_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    from regulo.data.components.image_io import import_albumentations

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: object())
    with pytest.raises(InputError, match="AGPL"):
        import_albumentations()


@pytest.mark.parametrize("size", [3, 4, 7, 45, 55, 101, 599, 700])
def test_the_number_of_training_images_is_the_one_that_was_asked_for(size: int) -> None:
    labels = np.repeat([0, 1, 2], [600, 100, 2])
    train = Split(np.zeros((len(labels), 1, 1, 1), "uint8"), labels)
    fewer = subsample_train(train, DatasetConfig(max_train_images=size), 3, seed=3)
    counts = np.bincount(fewer.labels, minlength=3)
    assert counts.sum() == size
    assert counts.min() >= 1
    assert abs(counts[0] - size * 600 / 702) < 2


def test_fewer_training_images_than_classes_are_refused() -> None:
    train = Split(np.zeros((100, 1, 1, 1), "uint8"), np.arange(100) % 10)
    with pytest.raises(InputError, match="5 images are too few for the 10 classes"):
        subsample_train(train, DatasetConfig(max_train_images=5), 10, seed=3)


def test_label_noise_changes_a_share_of_the_training_labels_only_and_fewer_images_keep_their_classes() -> None:
    spec = DatasetConfig(label_noise=0.4, max_train_images=500)
    train = Split(np.zeros((2000, 4, 4, 1), "uint8"), np.arange(2000) % 10)
    fewer = subsample_train(train, DatasetConfig(max_train_images=500), 10, seed=3)
    assert np.bincount(fewer.labels).tolist() == [50] * 10
    noisy = subsample_train(train, spec, 10, seed=3)
    share = (noisy.labels != fewer.labels).mean()
    assert abs(share - 0.4 * 0.9) < 0.07, "one of ten new labels equals the old one"
    assert (subsample_train(train, spec, 10, seed=3).labels == noisy.labels).all()
    assert not (subsample_train(train, spec, 10, seed=4).labels == noisy.labels).all()
    assert subsample_train(train, DatasetConfig(), 10, seed=3) is train
