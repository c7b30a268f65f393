"""The LightningDataModule of every data set."""

import numpy as np
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from regulo.core import affinity
from regulo.core.types import Batch
from regulo.data.base import DataSet, Splits, checked, drawn_from, fixed_subset
from regulo.data.components.dataset import BatchedImages, Transforms, quiet_worker, whole
from regulo.data.components.sampler import EvalBatches, Key, Sequence, TrainBatches


class ImageData(LightningDataModule):
    """Loaders over the splits of a data set. Augmentation is for training only; everything else gets the eval transforms."""

    def __init__(
        self,
        spec: DataSet,
        splits: Splits,
        seed: int,
        limit: int | None = None,
        train_transforms: Transforms = (),
        sequence: Sequence = lambda places: places,
    ) -> None:
        super().__init__()
        splits = checked(splits)
        self.sequence = sequence
        self.begin = (0, 0)  # the epoch and the batch with which training begins
        self.limit = limit  # batches of an evaluation; null: all
        self.spec, self.facts, self.seed = spec, splits.facts, seed
        train = drawn_from(splits.train, spec, splits.facts.num_classes, seed)
        clean = train.take(fixed_subset(len(train.labels), spec.clean_subset))
        self.train = BatchedImages(train, train_transforms, seed)
        self.evaluated = {
            name: BatchedImages(split, spec.fit(), seed)
            for name, split in (("train_clean", clean), ("val", splits.val), ("test", splits.test))
        }

    def train_dataloader(self) -> DataLoader[Batch]:
        rank, world = self._place()
        return self._loader(
            self.train, TrainBatches(len(self.train), self.spec.batch_size, self.seed, rank, world, self.sequence, self.begin)
        )

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        rank, world = self._place()
        sets = (self.evaluated["val"], self.evaluated["train_clean"])
        return [self._loader(s, EvalBatches(len(s), self.spec.batch_size, rank, world, self.limit)) for s in sets]

    def evaluation_loader(self, split: str) -> DataLoader[Batch]:
        """The split in order, on one device: "train_clean", "val" or "test"."""
        data = self.evaluated[split]
        return self._loader(data, EvalBatches(len(data), self.spec.batch_size, limit=self.limit))

    def sizes(self) -> list[int]:
        """How many images training and each evaluation have."""
        return [len(self.train), *(len(split) for split in self.evaluated.values())]

    def example(self) -> Batch:
        """One training batch of epoch 0, made in this process."""
        return self.train.__getitems__([(0, i, 0) for i in range(min(self.spec.batch_size, len(self.train)))])

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, data: BatchedImages, batches: Sampler[list[Key]]) -> DataLoader[Batch]:
        # arrays that need no transform are sliced faster than a worker could send them
        in_memory = data.pipeline is None and isinstance(data.split.images, np.ndarray)
        workers = 0 if in_memory else self.workers()
        return DataLoader(
            data,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=whole,  # type: ignore[arg-type]
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=quiet_worker,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # its own, so that making a loader draws nothing from the global one
        )

    def workers(self) -> int:
        """Loader processes: as configured, else half of this device's share of the cores, at most 8."""
        if self.spec.num_workers is not None:
            return self.spec.num_workers
        here = self.trainer.num_devices if self.trainer else 1
        return min(8, max(1, len(affinity.available()) // (2 * here)))
