"""Warnings of libraries that are harmless here."""

import warnings

HARMLESS = (
    "Experiment logs directory .* exists and is not empty",  # config.yaml is written into the run folder first
    ".*isinstance\\(treespec, LeafSpec\\)` is deprecated",  # lightning 2.6 on torch 2.15
    "The '.*' does not have many workers",  # num_workers is set on purpose
    "Checkpoint directory .* exists and is not empty",  # a resumed run
    "You're resuming from a checkpoint that ended before the epoch ended",  # the sampler continues at the right batch
    "The number of training batches .* is smaller than the logging interval",  # the last batch is always a log point
    "It is recommended to use `self.log.*sync_dist=True",  # logged values are already summed over all ranks
    "(Possibly )?[Cc]orrupt EXIF data",  # counted before training
    "Tag data larger than file",  # the same
    "Grad strides do not match bucket view strides",  # only of 1 × 1 convolutions, whose strides have no effect
)


def ignore_harmless_warnings() -> None:
    """Hide the warnings of `HARMLESS` in this process, so that the messages of Regulo are visible."""
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message=message)
