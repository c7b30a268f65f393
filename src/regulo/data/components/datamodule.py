"""The LightningDataModule of every data set."""

import numpy as np
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from regulo.core import affinity
from regulo.core.types import Batch
from regulo.data.base import DatasetConfig, Splits, check_splits, fixed_subset, subsample_train
from regulo.data.components.dataset import BatchedImages, Transforms, collate, worker_init
from regulo.data.components.sampler import EvalBatchSampler, SampleKey, SampleOrder, TrainBatchSampler


class ImageDataModule(LightningDataModule):
    """Loaders over the splits of a data set. Augmentation is for training only; everything else gets the eval transforms."""

    def __init__(
        self,
        spec: DatasetConfig,
        splits: Splits,
        seed: int,
        limit: int | None = None,
        train_transforms: Transforms = (),
        sequence: SampleOrder = lambda places: places,
    ) -> None:
        super().__init__()
        splits = check_splits(splits)
        self.sequence = sequence
        self.start_position = (0, 0)  # the epoch and the batch with which training begins
        self.limit = limit  # batches of an evaluation; null: all
        self.spec, self.facts, self.seed = spec, splits.facts, seed
        train = subsample_train(splits.train, spec, splits.facts.num_classes, seed)
        clean = train.select(fixed_subset(len(train.labels), spec.clean_subset))
        self.train_dataset = BatchedImages(train, train_transforms, seed)
        self.eval_datasets = {
            name: BatchedImages(split, spec.resize_transforms(), seed)
            for name, split in (("train_clean", clean), ("val", splits.val), ("test", splits.test))
        }

    def train_dataloader(self) -> DataLoader[Batch]:
        rank, world = self._place()
        return self._loader(
            self.train_dataset,
            TrainBatchSampler(
                len(self.train_dataset), self.spec.batch_size, self.seed, rank, world, self.sequence, self.start_position
            ),
        )

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        rank, world = self._place()
        sets = (self.eval_datasets["val"], self.eval_datasets["train_clean"])
        return [self._loader(s, EvalBatchSampler(len(s), self.spec.batch_size, rank, world, self.limit)) for s in sets]

    def evaluation_loader(self, split: str) -> DataLoader[Batch]:
        """The split in order, on one device: "train_clean", "val" or "test"."""
        data = self.eval_datasets[split]
        return self._loader(data, EvalBatchSampler(len(data), self.spec.batch_size, limit=self.limit))

    def split_sizes(self) -> list[int]:
        """How many images training and each evaluation have."""
        return [len(self.train_dataset), *(len(split) for split in self.eval_datasets.values())]

    def example_batch(self) -> Batch:
        """One training batch of epoch 0, made in this process."""
        return self.train_dataset.__getitems__([(0, i, 0) for i in range(min(self.spec.batch_size, len(self.train_dataset)))])

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, data: BatchedImages, batches: Sampler[list[SampleKey]]) -> DataLoader[Batch]:
        # arrays that need no transform are sliced faster than a worker could send them
        in_memory = data.pipeline is None and isinstance(data.split.images, np.ndarray)
        workers = 0 if in_memory else self.num_workers()
        return DataLoader(
            data,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=collate,  # type: ignore[arg-type]
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=worker_init,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # its own, so that making a loader draws nothing from the global one
        )

    def num_workers(self) -> int:
        """Loader processes: as configured, else half of this device's share of the cores, at most 8."""
        if self.spec.num_workers is not None:
            return self.spec.num_workers
        here = self.trainer.num_devices if self.trainer else 1
        return min(8, max(1, len(affinity.available_cores()) // (2 * here)))
