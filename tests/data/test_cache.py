"""`data.cache`: what is kept is what evaluation reads, is made once, and is whole or not there."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from regulo.__main__ import main
from regulo.core import memory
from regulo.core.errors import InputError
from regulo.core.resize import Box, RandomBox, Resize
from regulo.core.types import Batch
from regulo.data.components import cache_folder, image_cache, pixel_file
from regulo.data.components.cache_folder import CacheFolder
from regulo.data.components.datamodule import ImageDataModule
from regulo.data.components.dataset import BatchedImages, collate
from regulo.data.components.file_images import FileImages
from regulo.data.components.image_cache import CachedImages, Reduction, scale_box
from regulo.data.image_folder import ImageFolder
from regulo.regularizers.augment import Augment
from tests.conftest import rng

PLACES = pytest.mark.parametrize("place", ["ram", "disk"])
SIDE = 8


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder of this test."""
    monkeypatch.setenv("REGULO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of different sizes, one of them turned by EXIF, one with 16 bits, one a GIF."""
    root = tmp_path / "photos"
    for c in "ab":
        (root / c).mkdir(parents=True)
        for i in range(12):
            height, width = rng(i).integers(12, 60, 2)
            pixels = rng(i + 100 * (c == "b")).integers(0, 256, (height, width, 3), dtype="uint8")
            Image.fromarray(pixels).save(root / c / f"{i}.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rng(1).integers(0, 256, (20, 50, 3), dtype="uint8")).save(root / "a" / "turned.jpg", exif=exif)
    Image.fromarray(rng(2).integers(0, 60_000, (30, 40), dtype="uint16")).save(root / "a" / "deep.png")
    Image.fromarray(rng(3).integers(0, 256, (30, 40), dtype="uint8")).save(root / "b" / "picture.gif")
    return root


def open_data(root: Path, place: str, crop: str | None = "auto", **fields: Any) -> ImageDataModule:
    config = ImageFolder(root=str(root), image_size=SIDE, batch_size=4, num_workers=0, cache=place, **fields)  # type: ignore[arg-type]
    splits = config.splits()
    transforms = Augment(crop=crop).transform([config.resize()], splits.dataset_info)  # type: ignore[arg-type]
    data = ImageDataModule(config, splits, 0, train_transforms=transforms)
    data.cache_images()
    return data


def training_batches(data: ImageDataModule, epoch: int = 0) -> list[Batch]:
    keys = [(epoch, i, 0) for i in range(len(data.train_dataset))]
    return [data.train_dataset.__getitems__(keys[i : i + 4]) for i in range(0, len(keys), 4)]


def evaluation_images(data: ImageDataModule) -> torch.Tensor:
    return torch.cat([batch.images for split in ("train_clean", "val", "test") for batch in data.evaluation_loader(split)])


def is_cached(dataset: BatchedImages) -> bool:
    return isinstance(dataset.split.images, CachedImages)


# ---- what is kept


@PLACES
def test_evaluation_reads_the_same_pixels_with_and_without_a_cache(
    place: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = evaluation_images(open_data(photos, "off"))
    data = open_data(photos, place)
    kept = {name for name, dataset in data.eval_datasets.items() if is_cached(dataset)}
    assert kept == {"train_clean", "val"} | ({"test"} if place == "disk" else set())
    assert torch.equal(evaluation_images(data), expected)
    for name in kept:  # not by reading the files again
        assert not np.shares_memory(data.eval_datasets[name]._image(0, 0, 0), data.eval_datasets[name].split.images.pixels[0])  # type: ignore[attr-defined]
    monkeypatch.setattr(FileImages, "_decode", None)
    for name in kept:
        next(iter(data.evaluation_loader(name)))


@PLACES
@pytest.mark.parametrize("crop", ["pad", None])
def test_training_without_random_boxes_is_the_same_bit_for_bit(place: str, crop: str | None, photos: Path) -> None:
    without, cached = open_data(photos, "off", crop), open_data(photos, place, crop)
    assert is_cached(cached.train_dataset)
    for epoch in (0, 1):
        for a, b in zip(training_batches(without, epoch), training_batches(cached, epoch), strict=True):
            assert torch.equal(a.images, b.images)


def test_random_boxes_are_those_of_the_files_cut_from_an_antialiased_copy(tmp_path: Path) -> None:
    """The reference is torchvision: the whole picture is reduced, the box is cut in proportion, and resized."""
    smooth = Image.fromarray(rng(0).integers(0, 256, (6, 9, 3), dtype="uint8")).resize((180, 120), Image.Resampling.BICUBIC)
    for c in "ab":
        (tmp_path / "photos" / c).mkdir(parents=True)
        for i in range(5):
            smooth.save(tmp_path / "photos" / c / f"{i}.png")
    without, cached = open_data(tmp_path / "photos", "off"), open_data(tmp_path / "photos", "disk")
    images, resize = cached.train_dataset.split.images, cached.train_dataset.resize
    assert isinstance(images, CachedImages)
    assert images.rule == Reduction(3 * SIDE, "bilinear")
    assert resize is not None
    whole = torch.from_numpy(np.array(smooth)).permute(2, 0, 1)
    reduced = v2.functional.resize(whole, [24, 36], antialias=True)
    same_box, other_box = [], []
    for seed in range(20):
        top, left, height, width = resize.box((120, 180), Random(seed))
        y, x = round(top * 24 / 120), round(left * 36 / 180)
        h, w = round((top + height) * 24 / 120) - y, round((left + width) * 36 / 180) - x
        expected = v2.functional.resize(reduced[:, y : y + h, x : x + w], [SIDE, SIDE], antialias=True)
        ours = images.read(0, resize, Random(seed))
        assert np.abs(ours.astype(int) - expected.permute(1, 2, 0).numpy()).max() <= 1
        assert ours.flags.writeable
        for seeds, differences in ((seed, same_box), (seed + 100, other_box)):
            direct = without.train_dataset.split.images.read(0, resize, Random(seeds))  # type: ignore[attr-defined]
            differences.append(np.abs(ours.astype(int) - direct).mean())
    assert np.mean(same_box) < np.mean(other_box) / 3


def test_a_box_in_a_copy_is_never_empty_and_never_outside() -> None:
    random = Random(0)
    for _ in range(2000):
        original = random.randint(1, 500), random.randint(1, 500)
        size = Reduction(random.randint(1, 40), "bilinear").size(*original)
        top, left, height, width = scale_box(RandomBox(0.01)(original, (8, 8), random), original, size)
        assert top >= 0 <= left
        assert 0 < height <= size[0] - top
        assert 0 < width <= size[1] - left
    assert scale_box(Box(10, 20, 30, 40), (100, 100), (100, 100)) == Box(10, 20, 30, 40)


def test_a_rule_that_changes_during_the_run_reads_the_files(photos: Path) -> None:
    data = open_data(photos, "disk", crop=None)
    images, other = data.train_dataset.split.images, Resize(SIDE, SIDE, RandomBox(), may_reduce=True)
    expected = FileImages(images.paths, 3, images.pixel_range).read(3, other, Random(0))  # type: ignore[attr-defined]
    assert np.array_equal(images.read(3, other, Random(0)), expected)  # type: ignore[attr-defined]


# ---- when it is made


def cache_files(cache: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in (cache / "images").glob("*.pixels")}


def test_a_second_start_reads_what_the_first_one_has_made(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [batch.images for batch in training_batches(open_data(photos, "disk"))]
    before = cache_files(cache)
    assert len(before) == 4
    monkeypatch.setattr(image_cache, "write_pixels", None)
    assert all(map(torch.equal, expected, (batch.images for batch in training_batches(open_data(photos, "disk")))))
    assert cache_files(cache) == before


@pytest.mark.parametrize("change", ["pixels", "time", "size", "range"])
def test_what_changes_the_pixels_makes_them_again(change: str, photos: Path, cache: Path) -> None:
    data = open_data(photos, "disk")
    before = set(cache_files(cache))
    if change == "range":
        open_data(photos, "disk", pixel_range=(0, 1000))
    elif change == "size":
        config = ImageFolder(root=str(photos), image_size=SIDE + 1, cache="disk")
        ImageDataModule(config, config.splits(), 0, train_transforms=[config.resize()]).cache_images()
        assert len(set(cache_files(cache)) - before) == 3  # train and train_clean are the same images
        return
    else:
        files = [os.fsdecode(raw) for raw in data.eval_datasets["val"].split.images.paths]  # type: ignore[attr-defined]
        if change == "pixels":
            Image.fromarray(np.zeros((9, 9, 3), "uint8")).save(files[0])
        else:
            os.utime(files[0], ns=(0, 1))
        data = open_data(photos, "disk")
        first = data.eval_datasets["val"].__getitems__([(0, 0, 0)]).images
        assert (first == 0).all() == (change == "pixels")
        assert len(set(cache_files(cache)) - before) == 1
        return
    assert len(set(cache_files(cache)) - before) == 4


@pytest.mark.parametrize("damage", ["empty", "cut", "longer", "zeros"])
def test_a_damaged_file_is_made_again(damage: str, photos: Path, cache: Path) -> None:
    expected = evaluation_images(open_data(photos, "disk"))
    for file in (cache / "images").glob("*.pixels"):
        content = file.read_bytes()
        changes = {"empty": b"", "cut": content[:-1], "longer": content + b"0", "zeros": bytes(len(content))}
        file.write_bytes(changes[damage])
    assert torch.equal(evaluation_images(open_data(photos, "disk")), expected)


BUILD = """
import sys
from tests.data.test_cache import open_data, evaluation_images
from pathlib import Path
data = open_data(Path(sys.argv[1]), sys.argv[2])
print("ready", evaluation_images(data).sum().item(), flush=True)
if len(sys.argv) > 3: input()
"""


SLOW = """
import time
from regulo.data.components.image_cache import Entry
decode = Entry._decode
def decode_slowly(*arguments):
    print("reading", flush=True)
    time.sleep(0.5)
    return decode(*arguments)
Entry._decode = decode_slowly
"""


def start(photos: Path, place: str, *more: str, code: str = BUILD) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", code, str(photos), place, *more]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, stdin=pipe, text=True, cwd=Path(__file__).parents[2])


@pytest.mark.long
@PLACES
def test_two_processes_at_once_make_it_once_and_share_it(place: str, photos: Path, cache: Path) -> None:
    processes = [start(photos, place, "wait") for _ in range(2)]
    lines = [process.stdout.readline() for process in processes]  # type: ignore[union-attr]
    assert lines[0] == lines[1] != ""
    files = [memory_files(process.pid) for process in processes]
    assert files[0] == files[1]
    assert len(files[0]) == (3 if place == "ram" else 4)
    for process in processes:
        process.kill()
        process.communicate()
    assert not list((cache / "images").rglob("*.part"))


def memory_files(pid: int) -> set[tuple[str, str]]:
    """Device and number of the pixel files that a process has mapped."""
    lines = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    return {(w[3], w[4]) for w in lines if len(w) > 5 and (w[5].startswith("/memfd:") or w[5].endswith(".pixels"))}


@pytest.mark.long
@PLACES
def test_a_killed_builder_leaves_nothing_that_is_used(place: str, photos: Path, cache: Path) -> None:
    slow = BUILD.replace("data =", SLOW + "data =")
    process = start(photos, place, code=slow)
    for _ in range(4):
        assert process.stdout.readline() == "reading\n"  # type: ignore[union-attr]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list((cache / "images").glob("*.part"))) == (place == "disk")
    assert torch.equal(evaluation_images(open_data(photos, place)), evaluation_images(open_data(photos, "off")))
    assert not list((cache / "images").rglob("*.part"))


@pytest.mark.long
def test_images_in_memory_are_gone_with_the_last_process(photos: Path, cache: Path) -> None:
    process = start(photos, "ram", "wait")
    process.stdout.readline()  # type: ignore[union-attr]
    (note, *_), folder = [json.loads(file.read_text()) for file in cache.rglob("*.json")], CacheFolder.of("ram")
    assert os.path.exists(note["address"])
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not os.path.exists(note["address"])
    assert all(folder.find(file.stem, 1, 3) is None for file in folder.path.glob("*.json"))


def test_the_number_of_an_ended_process_may_belong_to_another_one(photos: Path, cache: Path) -> None:
    data = open_data(photos, "ram")
    expected = evaluation_images(data)
    for file in cache.rglob("*.json"):
        note = json.loads(file.read_text())
        file.write_text(json.dumps(note | {"identity": [note["identity"][0], 1]}))
    assert torch.equal(evaluation_images(open_data(photos, "ram")), expected)


@PLACES
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_loader_processes_share_the_cache(method: str, place: str, photos: Path) -> None:
    data = open_data(photos, place)
    expected = training_batches(data)
    loader = torch.utils.data.DataLoader(
        data.train_dataset,
        batch_sampler=[[(0, i, 0) for i in batch.indices.tolist()] for batch in expected],
        num_workers=1,
        collate_fn=collate,
        multiprocessing_context=multiprocessing.get_context(method),
    )
    assert all(torch.equal(a.images, b.images) for a, b in zip(loader, expected, strict=True))


# ---- what is refused


@PLACES
def test_too_large_images_are_refused_before_one_is_decoded(
    place: str, photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=20_000)
    monkeypatch.setattr(cache_folder.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(cache_folder, "available_memory", lambda: 20_000)
    monkeypatch.setattr(image_cache, "write_pixels", None)
    with pytest.raises(InputError, match=r"data.cache: the decoded images take 4\d\.\d kB, and .*20\.0 kB"):
        open_data(photos, place)
    assert not list(cache.rglob("*.part"))


def test_the_numbers_of_a_refusal_are_the_sizes_of_the_files(photos: Path, cache: Path) -> None:
    data = open_data(photos, "disk")
    for dataset in (data.train_dataset, *data.eval_datasets.values()):
        images = dataset.split.images
        assert isinstance(images, CachedImages)
        entry = image_cache.Entry.of("train", FileImages(images.paths, 3, images.pixel_range), images.rule)
        assert entry.num_bytes() == images.pixels.num_bytes == (cache / "images" / f"{entry.name}.pixels").stat().st_size


def test_a_full_disk_is_one_message_and_leaves_nothing(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pixel_file.os, "pwrite", fail)
    with pytest.raises(InputError, match=r"cannot keep decoded images in .*: the disk is full — name a folder on another disk"):
        open_data(photos, "disk")
    assert not list(cache.rglob("*.pixels*"))


def test_a_folder_that_cannot_be_written_to_is_refused(photos: Path, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(InputError, match=r"cannot keep decoded images in .*REGULO_CACHE=FOLDER"):
        open_data(photos, "disk")


def test_an_unreadable_image_is_named(photos: Path, cache: Path) -> None:
    (photos / "a" / "3.jpg").write_bytes(b"<html>")
    config = ["train", "debug=fast", "trainer=cpu", "logger=csv", "data=image_folder", f"data.root={photos}"]
    assert main([*config, "data.verify_images=none", "data.cache=disk", f"run_dir={cache.parent / 'run'}"]) == 2
    assert not (cache.parent / "run").exists()
    assert not list(cache.rglob("*.pixels*"))


def test_free_memory_is_that_of_the_machine_or_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    monkeypatch.setattr(memory, "_machine_memory", lambda: 5000)
    assert memory.available_memory() == 5000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("300\n")
    assert memory.available_memory() == 5000
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory.available_memory() == 700
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 100\n")
    assert memory.available_memory() == 800


# ---- in a run


def train(*words: str) -> dict[str, Any]:
    base = ["train", "debug=fast", "trainer=cpu", "logger=csv", "callbacks=none", "model.depth=8", "model.width=4"]
    folder = Path(next(word.partition("=")[2] for word in words if word.startswith("run_dir=")))
    assert main([*base, *words]) == 0
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def test_a_run_has_the_same_scores_and_says_what_is_kept(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["data=image_folder", f"data.root={photos}", "data.image_size=8", "data.batch_size=8", "regularizer=none"]
    results = [
        train(*data, "data.num_workers=0", f"data.cache={place}", f"run_dir={tmp_path / place}") for place in ("off", "disk")
    ]
    scores = [{key: value for key, value in result.items() if "/" in key} for result in results]
    assert scores[0] == scores[1]
    assert "cache: " in (out := capsys.readouterr().out)
    assert " kB of decoded images (train, train_clean, val, test) in " in out
