"""Warnings of libraries that are known and harmless."""

import warnings

HARMLESS = (
    "Experiment logs directory .* exists and is not empty",  # the run folder holds config.yaml first
    ".*isinstance\\(treespec, LeafSpec\\)` is deprecated",  # lightning 2.6 on torch 2.15
    "The '.*' does not have many workers",  # num_workers is chosen
    "Checkpoint directory .* exists and is not empty",  # a run that goes on
    "You're resuming from a checkpoint that ended before the epoch ended",  # the sampler begins where it did
    "The number of training batches .* is smaller than the logging interval",  # the last batch is always a log point
    "It is recommended to use `self.log.*sync_dist=True",  # what is logged has been added up over all ranks
    "Grad strides do not match bucket view strides",  # of 1 × 1 convolutions, whose strides say nothing
)


def ignore_harmless_warnings() -> None:
    """Hide the warnings of `HARMLESS` in this process, so that the messages of Regulo are seen."""
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message=message)
