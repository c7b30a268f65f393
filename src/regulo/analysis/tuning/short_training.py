"""A few training steps of a run, without its Trainer: with its images, its plan, its model and its optimizer."""

import copy
import dataclasses
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regulo.analysis.tuning.budget import Cost
from regulo.core.collectives import world_size
from regulo.core.precision import autocast
from regulo.core.rng import StepContext, seed_torch, torch_seed
from regulo.core.schedule import RampBuffer
from regulo.core.types import Batch
from regulo.models.components.sites import RateSite

if TYPE_CHECKING:
    from regulo.training.build import RunComponents

HALFWAY = 0.5
"""the progress of a run at which ramps have the strengths that these steps use"""
START_SECONDS = 4.0
"""what a run takes before its first step: its process, the data, the choice of the precision"""


def copy_components(components: "RunComponents") -> "RunComponents":
    """Components whose model can be trained without a change of the given ones. The plan may refer to modules of the model."""
    model, plan = copy.deepcopy((components.model, components.plan))
    return dataclasses.replace(components, model=model, plan=plan, data=copy.copy(components.data))


class PlanLoss(nn.Module):
    """From a batch to its loss, as a module that DistributedDataParallel can wrap."""

    def __init__(self, components: "RunComponents", device: torch.device) -> None:
        super().__init__()
        self.plan = components.plan
        self.classifier = components.classifier().to(device)
        self.counts = torch.tensor(components.data.class_counts(), dtype=torch.float32, device=device)

    def forward(self, batch: Batch, context: StepContext) -> Tensor:
        """The loss ()."""
        from regulo.training.module import compute_loss

        return compute_loss(self.classifier, self.plan, batch, self.counts, context).loss


class ShortTraining:
    """Training steps at learning rates that the caller chooses, on one device or, with DDP, on those of all processes."""

    def __init__(self, components: "RunComponents") -> None:
        config = components.config
        self.components, self.plan, self.seed = components, components.plan, config.run.seed
        self.device, self.precision = config.trainer.device(), config.trainer.precision
        self.own_loss = PlanLoss(components, self.device).train()
        self.classifier = self.own_loss.classifier
        self.loss: nn.Module = self.own_loss
        if world_size() > 1:
            self.loss = nn.parallel.DistributedDataParallel(self.own_loss)
        self.accumulate, self.clip = config.optim.accumulate, config.optim.grad_clip_norm
        model = self.classifier.model
        optim = config.optim.for_batch_size(components.batch)
        fused = self.device.type in ("cuda", "cpu") and self.precision != "16-mixed"
        inner = optim.build(self.plan.param_groups(model, HALFWAY), fused)
        self.shares = [group["lr"] / optim.lr for group in inner.param_groups]  # layer decay
        self.step_number = 0
        self.optimizer = self.plan.wrap_optimizer(inner, model, self._context)
        for module in self.classifier.modules():
            if isinstance(module, RampBuffer | RateSite):
                module.update(HALFWAY)

    def _context(self) -> StepContext:
        return StepContext(self.seed, 0, self.step_number, HALFWAY)

    def batches(self) -> Iterator[Batch]:
        """Training batches on the device, epoch by epoch without an end."""
        loader = self.components.data.train_dataloader()
        epoch = 0
        while True:
            batch_sampler: Any = loader.batch_sampler
            batch_sampler.sampler.set_epoch(epoch)
            for batch in loader:
                yield Batch(*(tensor.to(self.device) for tensor in batch))
            epoch += 1

    def step(self, batch: Batch, lr: float, alone: bool = False) -> float:
        """One step at a learning rate; returns the loss before it. `alone`: without the gradients of other processes."""
        loss_of = self.own_loss if alone else self.loss
        for group, share in zip(self.optimizer.param_groups, self.shares, strict=True):
            group["lr"] = lr * share
        losses: list[float] = []

        def closure() -> float:
            seed_torch(torch_seed(self.seed, 0, self.step_number), self.device)
            self.optimizer.zero_grad(set_to_none=True)
            total = torch.zeros((), device=self.device)
            for part in batch.split(self.accumulate):
                with autocast(self.precision, self.device):
                    loss = loss_of(part, self._context()) * (len(part.labels) / len(batch.labels))
                loss.backward()
                total = total + loss.detach()
            if self.clip:
                torch.nn.utils.clip_grad_norm_(self.classifier.parameters(), self.clip)
            losses.append(float(total))
            return losses[-1]

        self.optimizer.step(closure)
        self.step_number += 1
        return losses[0]


def measure_cost(components: "RunComponents", seconds: float = 6.0) -> Cost:
    """What runs of this plan take on this device, from some steps and evaluations. Takes about `seconds`."""
    training, data = ShortTraining(components), components.data
    batches = training.batches()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 5 or (time.perf_counter() - start < seconds and len(times) < 60):
        before = time.perf_counter()
        training.step(next(batches), 0.0)
        times.append(time.perf_counter() - before)
    step = sorted(times[1:])[len(times[1:]) // 2]
    loader = data.train_dataloader()
    steps = min(len(loader), components.config.trainer.limit_batches or len(loader))
    image = _seconds_per_evaluated_image(training)
    sizes = {name: len(split) for name, split in data.eval_datasets.items()}
    epoch = step * steps + image * (sizes["val"] + sizes["train_clean"])
    return Cost(epoch, START_SECONDS + image * sum(sizes.values()))


def _seconds_per_evaluated_image(training: ShortTraining) -> float:
    """Seconds of the model alone for one image, without gradients."""
    batch = training.components.data.example_batch()
    images = batch.images.to(training.device)
    model = training.classifier.eval()
    with torch.inference_mode(), autocast(training.precision, training.device):
        float(model(images).sum())  # a number on the host, for which it must wait for the device
        start = time.perf_counter()
        for _ in range(3):
            float(model(images).sum())
    return (time.perf_counter() - start) / 3 / len(images)
