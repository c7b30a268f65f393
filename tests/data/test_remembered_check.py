"""The check of image files is remembered until a file changes, and says the same in the second start."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regulo.core.errors import InputError
from regulo.data.base import Splits
from regulo.data.components import file_reports, image_check, mean_std
from regulo.data.image_folder import ImageFolder
from tests.conftest import rng

pytestmark = pytest.mark.filterwarnings("ignore:.*(EXIF|Tag data)")
Inspected = list[tuple[str, bool]]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REGULO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_reports, "MIN_FILES", 1)
    return tmp_path / "cache"


@pytest.fixture
def inspected(monkeypatch: pytest.MonkeyPatch) -> Inspected:
    """The files that were opened, and whether they were decoded."""
    files: Inspected = []
    original = image_check.inspect_image

    def inspect_image(raw: bytes, channels: int, decode: bool) -> Any:
        files.append((os.path.basename(os.fsdecode(raw)), decode))
        return original(raw, channels, decode)

    monkeypatch.setattr(image_check, "inspect_image", inspect_image)
    return files


@pytest.fixture
def photos(tmp_path: Path, cache: Path) -> Path:
    """Images of which the start has something to say: 16 bits, several frames, a strip, damaged EXIF data."""
    root = tmp_path / "photos"
    for c in "ab":
        (root / c).mkdir(parents=True)
        for i in range(6):
            pixels = rng(i + 10 * (c == "b")).integers(0, 256, (12, 16, 3), dtype="uint8")
            Image.fromarray(pixels).save(root / c / f"{c}{i}.jpg")
        Image.fromarray(rng(50).integers(0, 256, (2, 90, 3), dtype="uint8")).save(root / c / f"{c}_strip.png")
        frames = [Image.fromarray(np.full((8, 8), level, "uint8")) for level in (0, 200)]
        frames[0].save(root / c / f"{c}_film.gif", save_all=True, append_images=frames[1:])
        Image.fromarray(rng(60).integers(100, 40_000, (8, 8), dtype="uint16")).save(root / c / f"{c}_deep.png")
        Image.fromarray(pixels).save(root / c / f"{c}_exif.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0broken")
    return root


def open_folder(root: Path, verify: str = "full", **fields: Any) -> Splits:
    return ImageFolder(root=str(root), image_size=8, verify_images=verify, **fields).splits()  # type: ignore[arg-type]


@pytest.mark.parametrize("verify", ["full", "header", "none"])
def test_a_second_start_opens_no_file_and_says_the_same(verify: str, photos: Path, inspected: Inspected) -> None:
    first = open_folder(photos, verify)
    assert inspected
    if verify != "none":
        notes = " ".join(first.notes)
        for what in ("more than 8 bits", "several frames", "times as long as wide", "damaged EXIF"):
            assert what in notes
    inspected.clear()
    second = open_folder(photos, verify)
    assert inspected == []
    assert second.notes == first.notes
    assert second.dataset_info == first.dataset_info  # with the range of the deep files
    assert first.dataset_info.pixel_range is not None


def test_a_header_is_not_a_whole_file(photos: Path, inspected: Inspected) -> None:
    open_folder(photos, "header")
    read = [name for name, decode in inspected if decode]
    assert all("deep" in name for name in read)  # whose range is measured
    inspected.clear()
    open_folder(photos, "full")
    assert sorted(name for name, _ in inspected) == sorted({f.name for f in photos.rglob("*.*")} - set(read))


def rewrite(file: Path) -> None:
    Image.fromarray(np.zeros((7, 7, 3), "uint8")).save(file)


@pytest.mark.parametrize(
    "change", [rewrite, lambda file: os.utime(file, ns=(0, 1)), lambda file: file.write_bytes(file.read_bytes() + b"0")]
)
def test_only_a_file_that_has_changed_is_opened_again(
    change: Callable[[Path], object], photos: Path, inspected: Inspected
) -> None:
    open_folder(photos)
    inspected.clear()
    change(photos / "a" / "a3.jpg")
    open_folder(photos)
    assert inspected == [("a3.jpg", True)]


def test_a_file_that_was_damaged_since_is_refused_and_one_that_was_refused_is_not_remembered(
    photos: Path, inspected: Inspected
) -> None:
    open_folder(photos)
    file = photos / "b" / "b2.jpg"
    content = file.read_bytes()
    file.write_bytes(content[:100])
    for _ in range(2):
        with pytest.raises(InputError, match=r"cannot read '.*b2\.jpg'"):
            open_folder(photos)
    inspected.clear()
    file.write_bytes(content)
    open_folder(photos)
    assert inspected == [("b2.jpg", True)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-5],
        lambda text: text.replace("true", '"yes"'),
        lambda text: json.dumps(json.loads(text) | {"made_by": ["0"]}),
        lambda text: json.dumps({"reports": 3}),
        lambda text: "\0" * 100,
    ],
)
def test_a_memory_that_cannot_be_read_or_is_of_other_versions_is_made_again(
    damage: Callable[[str], str], photos: Path, cache: Path, inspected: Inspected
) -> None:
    first = open_folder(photos)
    (file,) = (cache / "verified").glob("*.json")
    file.write_text(damage(file.read_text()))
    inspected.clear()
    assert open_folder(photos).notes == first.notes
    assert len(inspected) == 20
    inspected.clear()
    open_folder(photos)
    assert inspected == []


def test_without_a_place_for_the_memory_everything_is_checked(photos: Path, cache: Path, inspected: Inspected) -> None:
    cache.write_text("a file")
    for _ in range(2):
        inspected.clear()
        open_folder(photos)
        assert len(inspected) == 20


def test_folders_and_channels_have_memories_of_their_own(photos: Path, cache: Path) -> None:
    open_folder(photos)
    open_folder(photos, channels=1)
    open_folder(photos.rename(photos.with_name("moved")))
    assert len(list((cache / "verified").glob("*.json"))) == 3


def test_names_outside_of_unicode_are_remembered(photos: Path, inspected: Inspected) -> None:
    (photos / "a" / "a0.jpg").rename(os.fsdecode(os.fsencode(photos / "a") + b"/\xff\xfe.jpg"))
    open_folder(photos)
    inspected.clear()
    open_folder(photos)
    assert inspected == []


def test_few_files_leave_nothing_in_the_cache_folder(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_reports, "MIN_FILES", 100)
    open_folder(photos)
    assert not cache.exists()


def test_all_fields_of_a_report_are_kept(photos: Path, cache: Path) -> None:
    reports = file_reports.FileReports(photos, 3)
    state, report = file_reports.FileState(5, 7), file_reports.ImageReport("", True, -3, 70_000, 4, True, True)
    reports.add(b"/x", state, "full", report)
    reports.save()
    again = file_reports.FileReports(photos, 3)
    assert again.find(b"/x", state, "full") == report
    assert again.find(b"/x", state, "header") is None
    assert again.find(b"/x", file_reports.FileState(5, 8), "full") is None


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of images that were read for mean and standard deviation."""
    counts: list[int] = []
    original = mean_std.BatchedImages.__getitems__

    def getitems(dataset: Any, keys: Any) -> Any:
        counts.append(len(keys))
        return original(dataset, keys)

    monkeypatch.setattr(mean_std.BatchedImages, "__getitems__", getitems)
    return counts


def test_mean_and_deviation_are_measured_once_and_again_after_any_change(photos: Path, decoded: list[int]) -> None:
    splits = open_folder(photos)
    first, file = splits.dataset_info, photos / splits.files["train"]["a"][0]
    assert open_folder(photos).dataset_info == first
    assert len(decoded) == 1
    assert open_folder(photos, interpolation="bicubic").dataset_info.mean != first.mean
    assert open_folder(photos, channels=1).dataset_info.mean != first.mean
    assert len(decoded) == 3
    rewrite(file)
    assert open_folder(photos).dataset_info.mean != first.mean
    assert len(decoded) == 4
    os.utime(file, ns=(0, 1))
    open_folder(photos)
    assert len(decoded) == 5


@pytest.mark.parametrize("content", ["", "{", '{"KEY": {"mean": "x", "std": [1]}}', '{"KEY": [1]}', "[]"])
def test_statistics_that_cannot_be_read_are_measured_again(content: str, photos: Path, cache: Path, decoded: list[int]) -> None:
    first = open_folder(photos).dataset_info
    file = cache / "statistics.json"
    ((key, _),) = json.loads(file.read_text()).items()
    file.write_text(content.replace("KEY", key))
    assert open_folder(photos).dataset_info == first
    assert len(decoded) == 2
