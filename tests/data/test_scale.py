"""What an image costs before it is read: with a million of them, one more call or object for each is a second, or 100 MB."""

import gc
import os
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from regulo.data.components.sampler import TrainBatchSampler, count_earlier
from regulo.data.image_folder import ImageFolder

SIZES = 1200, 2400


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> list[ImageFolder]:
    """Folders of links to one picture, of two sizes."""
    result = []
    for images in SIZES:
        root = tmp_path_factory.mktemp(f"{images}")
        for name in ("cat", "dog"):
            (root / name).mkdir()
            Image.fromarray(np.zeros((8, 8, 3), "uint8")).save(root / name / "0.png")
            for i in range(1, images // 2):
                os.link(root / name / "0.png", root / name / f"{i}.png")
        result.append(ImageFolder(root=str(root), verify_images="none", image_size=8))
    return result


def test_to_find_an_image_takes_few_calls(configs: list[ImageFolder]) -> None:
    counts = []
    for config in configs:
        calls = []
        config.splits()  # what is imported and remembered once does not count
        sys.setprofile(lambda frame, event, arg, calls=calls: calls.append(event) if event == "call" else None)
        try:
            config.splits()
        finally:
            sys.setprofile(None)
        counts.append(len(calls))
    assert (counts[1] - counts[0]) / (SIZES[1] - SIZES[0]) < 14, "Python calls for each image; with Path objects there were 37"


def test_an_image_that_was_found_takes_little_memory(configs: list[ImageFolder]) -> None:
    sizes = []
    for config in configs:
        tracemalloc.start()
        try:
            splits = config.splits()
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        assert len(splits.train.labels)
    assert (sizes[1] - sizes[0]) / (SIZES[1] - SIZES[0]) < 250, "bytes for each image: its path as text, and in an array"


@settings(max_examples=60, deadline=None)
@given(indices=st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_copies_of_an_image_are_counted_in_the_order_of_its_visits(indices: list[int]) -> None:
    expected = [indices[:place].count(index) for place, index in enumerate(indices)]
    assert count_earlier(np.array(indices)).tolist() == expected


def test_no_object_is_made_for_each_image_of_an_epoch() -> None:
    sampler = TrainBatchSampler(200_000, 64, seed=0, rank=0, world=1)
    tracemalloc.start()
    first = next(iter(sampler))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(first) == 64
    assert peak < 200_000 * 8 * 6, "some arrays of whole numbers; a tuple of each image has 150 bytes and more"
