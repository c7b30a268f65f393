import itertools
import traceback
import zlib

import numpy as np
import pytest
import torch
from scipy import stats

from regulo.core.rng import ImageDraws, make_rng, philox, sample_seed, seed_torch, torch_seed
from tests.conftest import rng


def test_draws_are_a_pure_function_of_their_place() -> None:
    """By NumPy's own seeding: if it changed, a run could not be repeated or go on with a later version."""
    assert make_rng(1, 0, 5, "mixup").random() == np.random.default_rng([1, 0, 5, zlib.crc32(b"mixup")]).random()
    assert sample_seed(1, 2, 3) == np.random.SeedSequence([1, 2, 3, 0]).generate_state(1)[0]
    assert torch_seed(1, 2, 3) == np.random.SeedSequence([1, 2, 3]).generate_state(1)[0]


def test_draws_differ_between_seeds_ranks_steps_and_names() -> None:
    places = itertools.product([0, 1], [0, 1], [0, 1, 2], ["mixup", "cutmix"])
    assert len({make_rng(*place).random() for place in places}) == 24
    assert len({sample_seed(s, e, i) for s, e, i in itertools.product(range(3), range(3), range(100))}) == 900
    assert len({torch_seed(*place) for place in itertools.product(range(5), range(5), range(5))}) == 125


# ---- random numbers of the images of a batch


def keys_of(*ranges: range) -> np.ndarray:
    """All combinations of epochs, indices and copies, (n, 3)."""
    return np.array(list(itertools.product(*ranges)))


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0, 0, 0, 0], (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, (0xFFFFFFFF, 0xFFFFFFFF), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_known_answers_of_its_authors(counter: list[int], key: tuple[int, int], expected: list[int]) -> None:
    words = philox([np.array([word, 7], np.uint64) for word in counter], key)
    assert [int(word[0]) for word in words] == expected
    assert int(words[0][1]) != expected[0]


def scalar_philox(counter: list[int], key: list[int]) -> list[int]:
    """The paper's rounds, with Python's integers of any length."""
    a, b, c, d = counter
    for i in range(10):
        k0, k1 = (key[0] + i * 0x9E3779B9) % 2**32, (key[1] + i * 0xBB67AE85) % 2**32
        left, right = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (right >> 32) ^ b ^ k0, right % 2**32, (left >> 32) ^ d ^ k1, left % 2**32
    return [a, b, c, d]


def test_the_draws_of_an_image_are_those_of_its_own_counter() -> None:
    keys = np.array([[0, 0, 0], [3, 2**32 - 1, 1], [2**32 - 1, 7, 2]])
    draws = ImageDraws(2**32 - 1, "augment", keys)
    numbers = np.concatenate([draws.random(3), draws.random(2), draws.uniform(-1, 3, 6)], axis=1)
    for row, key in zip(numbers, keys.tolist(), strict=True):
        words = [w for block in range(3) for w in scalar_philox([*key, block], [2**32 - 1, zlib.crc32(b"augment")])]
        expected = [w / 2**32 for w in words[:11]]
        expected[5:] = [-1 + 4 * u for u in expected[5:]]
        assert row.tolist() == expected


def test_the_draws_of_an_image_do_not_depend_on_its_batch_and_differ_in_everything_else() -> None:
    keys = keys_of(range(3), range(20), range(2))
    together = ImageDraws(5, "augment", keys).random(7)
    assert len(ImageDraws(5, "augment", keys)) == len(keys)
    for part in np.split(rng().permutation(len(keys)), [1, 8, 50]):
        assert (ImageDraws(5, "augment", keys[part]).random(7) == together[part]).all()
    others = [ImageDraws(seed, name, keys).random(7) for seed, name in ((6, "augment"), (5, "cutout"))]
    assert len(np.unique(np.concatenate([together, *others]))) > 3 * together.size - 3


def test_draws_are_uniform_and_independent_of_each_other() -> None:
    """Chi-squared of single draws and of neighbors: of one image, of images, copies and epochs, of seeds and of techniques."""
    keys = keys_of(range(4), range(1000), range(2))
    u = ImageDraws(0, "augment", keys).random(5)
    grid = u.reshape(4, 1000, 2, 5)
    assert 0 <= u.min() <= u.max() < 1
    pairs = {
        "numbers": (grid[..., :-1], grid[..., 1:]),
        "images": (grid[:, :-1], grid[:, 1:]),
        "copies": (grid[:, :, 0], grid[:, :, 1]),
        "epochs": (grid[:-1], grid[1:]),
        "seeds": (u, ImageDraws(1, "augment", keys).random(5)),
        "techniques": (u, ImageDraws(0, "three_augment", keys).random(5)),
    }
    p_values = {"single": stats.chisquare(np.bincount((u * 50).astype(int).ravel(), minlength=50)).pvalue}
    for name, (one, other) in pairs.items():
        cells = (one * 8).astype(int) * 8 + (other * 8).astype(int)
        p_values[name] = stats.chisquare(np.bincount(cells.ravel(), minlength=64)).pvalue
    assert min(p_values.values()) > 1e-3, p_values


def test_to_seed_torch_does_what_torch_does_and_takes_no_note_of_the_call_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    monkeypatch.setattr(traceback, "format_stack", None)  # a millisecond in every step
    seed_torch(7, torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)
