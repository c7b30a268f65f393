"""The LightningDataModule of every data set."""

import functools
from collections.abc import Callable

import numpy as np
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from regulo.core import affinity
from regulo.core.types import Batch, Split
from regulo.data.base import DatasetConfig, Splits, check_splits
from regulo.data.components.dataset import BatchedImages, Transforms, collate, list_resize, worker_init
from regulo.data.components.image_cache import cache_images
from regulo.data.components.resident_images import BatchTransform, ResidentImages
from regulo.data.components.sampler import EvalBatchSampler, SampleKey, SampleOrder, TrainBatchSampler
from regulo.data.components.subsets import fixed_subset, subsample_train


class ImageDataModule(LightningDataModule):
    """Loaders over the splits of a data set. Training images are augmented; all others only get the resize transforms."""

    def __init__(
        self,
        config: DatasetConfig,
        splits: Splits,
        seed: int,
        limit: int | None = None,
        train_transforms: Transforms = (),
        sequence: Callable[..., np.ndarray] = lambda indices, epoch, labels, seed: indices,
        batches_per_step: int = 1,
        device: torch.device | None = None,
        batch_transform: BatchTransform | None = None,
    ) -> None:
        """`device`: where all images stay, and `batch_transform` takes the place of `train_transforms`; None: in the loaders."""
        super().__init__()
        splits = check_splits(splits)
        self.batches_per_step = batches_per_step
        self.start_position = (0, 0)  # (epoch, batch) at which training begins
        self.limit = limit  # batches of an evaluation; None: all
        self.config, self.dataset_info, self.seed = config, splits.dataset_info, seed
        train = subsample_train(splits.train, config, splits.dataset_info.num_classes, seed)
        clean = train.select(fixed_subset(len(train.labels), config.clean_subset))

        def make_dataset(
            split: Split, transforms: Transforms, batch_transform: BatchTransform | None = None
        ) -> BatchedImages | ResidentImages:
            return ResidentImages(split, device, batch_transform) if device else BatchedImages(split, transforms, seed)

        self.train_dataset = make_dataset(train, train_transforms, batch_transform)
        self.sequence: SampleOrder = functools.partial(sequence, labels=train.labels, seed=seed)
        self.eval_datasets = {
            name: make_dataset(self._shuffle_if_cut_off(split), list_resize(config.resize()))
            for name, split in (("train_clean", clean), ("val", splits.val), ("test", splits.test))
        }

    def _shuffle_if_cut_off(self, split: Split) -> Split:
        """The split as it is if every image is evaluated. Otherwise in a fixed random order, as files are sorted by class.

        The split itself is reordered, so that predictions, labels and images stay side by side.
        """
        n = len(split.labels)
        if self.limit is None or n <= self.limit * self.config.batch_size:
            return split
        return split.select(np.random.default_rng(0).permutation(n))

    def cache_images(self) -> str:
        """Decode the images that are read more than once, and keep them as configured, before there are loaders.

        Returns what is kept and where, for people; empty if nothing is. Raises InputError if there is no room for them, and
        UnreadableImageError.
        """
        place, datasets = self.config.cache_place(), {"train": self.train_dataset, **self.eval_datasets}
        files = {name: dataset for name, dataset in datasets.items() if isinstance(dataset, BatchedImages)}
        return cache_images(files, self.config.resize(), place) if place else ""

    def train_dataloader(self) -> DataLoader[Batch]:
        """Loader of all images of a step at once."""
        rank, world = self._rank_and_world()
        size = self.config.batch_size * self.batches_per_step
        n, start = len(self.train_dataset), self.start_position
        return self._loader(self.train_dataset, TrainBatchSampler(n, size, self.seed, rank, world, self.sequence, start))

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        rank, world = self._rank_and_world()
        datasets = (self.eval_datasets["val"], self.eval_datasets["train_clean"])
        return [self._loader(d, EvalBatchSampler(len(d), self.config.batch_size, rank, world, self.limit)) for d in datasets]

    def evaluation_loader(self, split: str) -> DataLoader[Batch]:
        """Loader of the split "train_clean", "val" or "test": all images in order, on one device."""
        dataset = self.eval_datasets[split]
        return self._loader(dataset, EvalBatchSampler(len(dataset), self.config.batch_size, limit=self.limit))

    def split_sizes(self) -> list[int]:
        """Number of images of training, train_clean, val and test, in this order."""
        return [len(self.train_dataset), *(len(split) for split in self.eval_datasets.values())]

    def class_counts(self) -> list[int]:
        """Number of training images of each class (K)."""
        return np.bincount(self.train_dataset.split.labels, minlength=self.dataset_info.num_classes).tolist()

    def example_batch(self) -> Batch:
        """The first images of epoch 0 as one training batch, made in this process."""
        return self.train_dataset.__getitems__([(0, i, 0) for i in range(min(self.config.batch_size, len(self.train_dataset)))])

    def _rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, dataset: BatchedImages | ResidentImages, batch_sampler: Sampler[list[SampleKey]]) -> DataLoader[Batch]:
        # slicing an array that needs no transform is faster than getting the batch from a loader process
        workers = 0 if dataset.is_ready else self.num_workers()
        return DataLoader(
            dataset,
            batch_sampler=batch_sampler,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available() and isinstance(dataset, BatchedImages),
            worker_init_fn=worker_init,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # its own, so that making a loader takes no number from the global generator
        )

    def num_workers(self) -> int:
        """Loader processes of this device: as configured, or by the number of cores."""
        if self.config.num_workers is not None:
            return self.config.num_workers
        return affinity.loader_processes(self.trainer.num_devices if self.trainer else 1)
