"""image_folder: which files become which split, and how each is read. The folders are those of public reports."""

import inspect
import io
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from regulo.core.errors import InputError, UnreadableImageError
from regulo.data.base import Splits
from regulo.data.components import image_check, image_files
from regulo.data.components.image_check import inspect_image
from regulo.data.components.image_io import MAX_ASPECT, read_image
from regulo.data.components.labeled_files import digest_files
from regulo.data.components.record import open_splits
from regulo.data.components.split_folders import split_of
from regulo.data.components.subsets import hash_keys, hash_split
from regulo.data.image_folder import ImageFolder
from regulo.tracking.run_dir import RunFolder
from regulo.training import summary
from tests.conftest import rng


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)  # type: ignore[arg-type]
    return path


def photo(seed: int, height: int = 20, width: int = 30) -> np.ndarray:
    return rng(seed).integers(0, 256, (height, width, 3), dtype="uint8")


def image_folder(root: Path, classes: str = "ab", n: int = 10) -> Path:
    for c in classes:
        for i in range(n):
            save(root / c / f"{i}.png", photo(zlib.crc32(f"{root.name}/{c}/{i}".encode())))
    return root


def open_folder(root: Path, **fields: Any) -> Splits:
    return ImageFolder(**{"root": str(root), "image_size": 16, **fields}).splits()


def sizes(splits: Splits) -> list[list[int]]:
    """Images of each class in train, val and test."""
    return [np.bincount(split.labels, minlength=splits.dataset_info.num_classes).tolist() for _, split in splits.items()]


def names(splits: Splits) -> list[set[str]]:
    """The paths in train, val and test, relative to the root."""
    assert splits.files is not None
    return [{path for paths in splits.files[part].values() for path in paths} for part in ("train", "val", "test")]


# ---- which folder is which split


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("Training", "Testing"), [[8, 8], [2, 2], [10, 10]]),
        (("Train", "Val", "Test"), [[10, 10]] * 3),
        (("training_set", "test_set"), [[8, 8], [2, 2], [10, 10]]),
        (("train", "dev"), [[8, 8], [10, 10], [2, 2]]),
        (("train", "Test", "validate"), [[10, 10]] * 3),
        (("train2017", "val2017"), [[8, 8], [10, 10], [2, 2]]),
        (("TRAIN-images", "valid data", "testset"), [[10, 10]] * 3),
    ],
)
def test_split_folders_are_known_by_their_usual_names(
    folders: tuple[str, ...], expected: list[list[int]], tmp_path: Path
) -> None:
    for folder in folders:
        image_folder(tmp_path / folder)
    splits = open_folder(tmp_path)
    assert splits.dataset_info.classes == ("a", "b")
    assert sizes(splits) == expected


@pytest.mark.parametrize(
    "name", ["cats", "retrain", "testudo", "developer", "valley", "trains", "set", "data", "latest", "image"]
)
def test_other_names_are_classes(name: str) -> None:
    assert split_of(name) is None


def nest(root: Path, *folders: str) -> None:
    for folder in folders:
        image_folder(root / folder, n=4)


@pytest.mark.parametrize(
    ("make", "messages"),
    [
        (lambda p: nest(p, "train", "val", "valid", "test"), ["val/ and valid/", "both look like the val split"]),
        (lambda p: nest(p, "train", "extra"), ["has extra/ beside train/, which would not be used"]),
        (lambda p: nest(p, "train", "eval"), ["eval may be the validation or the test split"]),
        (
            lambda p: nest(p, "train", "eval", "more", "test", "testing"),
            ["eval may be", "has more/ beside", "test/ and testing/"],
        ),
        (lambda p: image_folder(p, n=4) and nest(p, "test"), ["has test/, which looks like a split, and no train/"]),
        (lambda p: nest(p, "val", "test"), ["has test/ and val/, which looks like a split, and no train/"]),
        (lambda p: nest(p / "train", "train", "val"), ["has the folders train/ and val/, which look like splits"]),
        (lambda p: [save(p / c / "0.png", photo(0)) for c in ("bus", "car", "train")], ["put them into a folder train/"]),
        (lambda p: nest(p / "photos", "a", "b"), ["has 1 class folders", "photos?"]),
        (
            lambda p: [image_folder(p / "train"), [save(p / "test" / f"{i}.png", photo(i)) for i in range(3)]],
            ["test has 3 images and no class folders", "regulo predict RUN FOLDER"],
        ),
        (
            lambda p: [image_folder(p / "train"), save(p / "test" / "unknown" / "0.png", photo(0))],
            ["the class 'unknown', which train does not have", "regulo predict RUN FOLDER"],
        ),
        (lambda p: nest(p, "cats/train", "cats/test", "dogs"), ["cats has test/ and train/, which look like splits"]),
    ],
)
def test_folders_that_can_be_read_in_two_ways_are_refused(
    make: Callable[[Path], object], messages: list[str], tmp_path: Path
) -> None:
    make(tmp_path)
    with pytest.raises(InputError) as refusal:
        open_folder(tmp_path)
    for message in messages:
        assert message in str(refusal.value)


def test_a_class_may_have_the_name_of_a_split_inside_of_train(tmp_path: Path) -> None:
    for name in ("bus", "car", "train"):
        for i in range(3):
            save(tmp_path / "train" / name / f"{i}.png", photo(i))
    assert open_folder(tmp_path).dataset_info.classes == ("bus", "car", "train")


def test_folders_without_images_beside_train_are_no_splits(tmp_path: Path) -> None:
    image_folder(tmp_path / "train")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "all.json").write_text("{}")
    splits = open_folder(tmp_path)
    assert sizes(splits) == [[7, 7], [1, 1], [2, 2]]
    assert "left out: 1 file of other types (.json 1)" in splits.notes


# ---- which files are images


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", "@eaDir", ".thumbnails", "__MACOSX"])
@pytest.mark.parametrize("level", ["", "train", "train/a"])
def test_hidden_folders_are_left_out_and_counted(hidden: str, level: str, tmp_path: Path) -> None:
    image_folder(tmp_path / "train")
    before = open_folder(tmp_path)
    for i in range(3):
        save(tmp_path / level / hidden / "deeper" / f"{i}.png", photo(i))
    splits = open_folder(tmp_path)
    assert names(splits) == names(before)
    assert splits.notes == (f"left out: 3 files in hidden folders ({hidden} 3)", *before.notes)


def test_hidden_files_and_files_of_other_types_are_left_out_and_counted(tmp_path: Path) -> None:
    image_folder(tmp_path)
    before = names(open_folder(tmp_path))
    for name in ("a/._0.png", "a/.DS_Store", "b/Thumbs.db", "a/notes.txt", "b/list.csv", "b/more.txt", "a/README"):
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    save(tmp_path / "overview.png", photo(0))
    splits = open_folder(tmp_path)
    assert names(splits) == before
    assert splits.notes[:3] == (
        "left out: 3 hidden files",
        "left out: 4 files of other types (.txt 2, .csv 1, without ending 1)",
        "left out: 1 image outside of the class folders",
    )


def test_every_usual_format_is_taken(tmp_path: Path) -> None:
    formats = {"jpg": "JPEG", "JPG": "JPEG", "jpeg": "JPEG", "jfif": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF"}
    formats |= {"bmp": "BMP", "gif": "GIF", "tif": "TIFF", "tiff": "TIFF", "ppm": "PPM", "pgm": "PPM", "jp2": "JPEG2000"}
    for c in "ab":
        for ending, name in formats.items():
            (tmp_path / c).mkdir(exist_ok=True)
            Image.fromarray(photo(1)).convert("L" if ending == "pgm" else "RGB").save(tmp_path / c / f"0.{ending}", format=name)
    splits = open_folder(tmp_path)
    assert np.sum(sizes(splits), axis=0).tolist() == [len(formats)] * 2


def test_pictures_without_a_decoder_are_said_with_what_helps(tmp_path: Path) -> None:
    image_folder(tmp_path)
    for i in range(4):
        (tmp_path / "a" / f"IMG_{i}.DNG").write_bytes(b"raw")
    assert "left out: 4 .dng files, which cannot be decoded here (convert them to JPEG or TIFF)" in open_folder(tmp_path).notes


def test_linked_folders_are_followed_once_and_not_back_into_the_data(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "data")
    for i in range(5):
        save(tmp_path / "store" / "2023" / f"{i}.png", photo(i))
    (root / "a" / "2023").symlink_to(tmp_path / "store" / "2023")
    splits = open_folder(root)
    assert np.sum(sizes(splits), axis=0).tolist() == [15, 10]
    before = names(splits)
    (tmp_path / "store" / "2023" / "loop").symlink_to(tmp_path / "store")
    (root / "b" / "again").symlink_to(tmp_path / "store" / "2023")
    (root / "b" / "a").symlink_to(root / "a")
    (root / "b" / "up").symlink_to(tmp_path)
    splits = open_folder(root)
    assert names(splits) == before
    assert any(note.startswith("left out: 4 linked folders that lead to images which are already") for note in splits.notes)


def test_a_linked_class_folder_that_is_already_there_is_named(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        image_folder(tmp_path / part, "b" if part == "val" else "ab")
    (tmp_path / "val" / "a").symlink_to(tmp_path / "train" / "a")
    assert "left out: 1 linked folder that lead to images which are already there (a)" in open_folder(tmp_path).notes


def test_folders_may_be_nested_deeper_than_calls(tmp_path: Path) -> None:
    depth = 150
    save(tmp_path.joinpath(*["d"] * depth) / "0.png", photo(0))
    image_files.image_extensions()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        assert image_files.ImageLister(tmp_path).list_folder(tmp_path) == ["d/" * depth + "0.png"]
    finally:
        sys.setrecursionlimit(limit)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image_folder(tmp_path)
    scandir = os.scandir

    def deny(path: str) -> Any:
        if path.endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(image_files.os, "scandir", deny)
    with pytest.raises(InputError, match=r"cannot list .*/b: Permission denied"):
        open_folder(tmp_path)


# ---- which images are held out


def test_one_folder_is_split_by_class_and_the_same_in_every_run(tmp_path: Path) -> None:
    splits = open_folder(image_folder(tmp_path, n=20), val_fraction=0.2, test_fraction=0.1)
    assert sizes(splits) == [[14] * 2, [4] * 2, [2] * 2]
    assert len(set.union(*names(splits))) == 40
    assert names(open_folder(tmp_path, val_fraction=0.2, test_fraction=0.1)) == names(splits)
    assert names(open_folder(tmp_path, val_fraction=0.2, test_fraction=0.1, split_seed=1)) != names(splits)
    assert splits.dataset_info.classes == ("a", "b")
    assert splits.notes == ("held out: of each class 10% for test and 20% for val, as there is no test and no val split",)


def test_train_val_and_test_folders_are_used_and_missing_ones_are_held_out(tmp_path: Path) -> None:
    image_folder(tmp_path / "train", n=10)
    image_folder(tmp_path / "validation", n=3)
    splits = open_folder(tmp_path, test_fraction=0.2)
    assert sizes(splits) == [[8] * 2, [3] * 2, [2] * 2]
    assert splits.notes == ("held out: of each class 20% for test, as there is no test split",)


def test_the_folder_around_the_classes_does_not_change_what_is_held_out(tmp_path: Path) -> None:
    image_folder(tmp_path / "plain")
    image_folder(tmp_path / "nested" / "training")
    plain, nested = (names(open_folder(tmp_path / name)) for name in ("plain", "nested"))
    assert [{f"training/{path}" for path in part} for part in plain] == nested


def test_adding_and_renaming_files_moves_few_others_between_splits(tmp_path: Path) -> None:
    """A permutation of the sorted list would deal all of them again: about 15% of the old training files would be tested on."""
    before = names(open_folder(image_folder(tmp_path, n=60)))
    for c in "ab":
        save(tmp_path / c / "000_new.png", photo(99))
        (tmp_path / c / "7.png").rename(tmp_path / c / "renamed.png")
    after = names(open_folder(tmp_path))
    moved = {path for old, new in zip(before, after, strict=True) for path in old - new if (tmp_path / path).exists()}
    assert len(moved) <= 8  # of 118: at most two boundaries move by two, in each of two classes


def test_the_held_out_share_is_exact_and_every_image_is_equally_likely() -> None:
    labels = np.repeat([0, 1, 2], [100, 7, 1])
    keys = [f"{label}/{i}" for i, label in enumerate(labels)]
    counts = np.zeros(len(labels))
    for seed in range(400):
        rest, subset = hash_split(hash_keys(keys, str(seed)), labels, 0.15)
        assert np.bincount(labels[subset]).tolist() == [15, 1, 1]
        assert sorted([*rest, *subset]) == list(range(len(labels)))
        counts[subset] += 1
    assert abs(counts[:100] / 400 - 0.15).max() < 5 * (0.15 * 0.85 / 400) ** 0.5


def test_every_class_keeps_an_image_to_train_on(tmp_path: Path) -> None:
    image_folder(tmp_path, "a", n=60)
    image_folder(tmp_path, "b", n=10)
    splits = open_folder(tmp_path, val_fraction=0.49, test_fraction=0.49)
    assert sizes(splits) == [[1, 1], [30, 4], [29, 5]]


def test_files_with_the_same_content_in_two_splits_are_counted(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        image_folder(tmp_path / part)
    assert not open_folder(tmp_path).notes
    shutil.copy(tmp_path / "train" / "a" / "1.png", tmp_path / "test" / "a" / "copy.png")
    os.link(tmp_path / "train" / "a" / "2.png", tmp_path / "val" / "a" / "hard.png")
    (tmp_path / "test" / "b" / "soft.png").symlink_to(tmp_path / "val" / "b" / "3.png")
    for verify in ("full", "header"):
        assert (
            open_folder(tmp_path, verify_images=verify)
            .notes[0]
            .startswith("3 images of val and test have the content of an image in train or val")
        )
    assert not open_folder(tmp_path, verify_images="none").notes


def test_one_picture_under_two_classes_is_counted(tmp_path: Path) -> None:
    image_folder(tmp_path / "train")
    image_folder(tmp_path / "val")
    image_folder(tmp_path / "test")
    shutil.copy(tmp_path / "train" / "a" / "1.png", tmp_path / "train" / "b" / "other.png")
    assert open_folder(tmp_path).notes[0] == "1 picture is there under two classes: one of them is wrong"


def test_a_file_that_is_removed_while_the_folder_is_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read 'a/0\.png': No such file"):
        digest_files(tmp_path, {"a": ["a/0.png"]})


def test_classes_that_are_too_small_are_named_with_their_number(tmp_path: Path) -> None:
    image_folder(tmp_path, "ab", n=3)
    image_folder(tmp_path, "c", n=2)
    (tmp_path / "d").mkdir()
    with pytest.raises(InputError, match=r"too few images for training: c 2, d 0; each class needs at least 3 \(one each"):
        open_folder(tmp_path)


# ---- how the data are described, and compared


def test_a_record_says_what_was_taken_and_finds_it_again(tmp_path: Path) -> None:
    image_folder(tmp_path)
    config = ImageFolder(root=str(tmp_path), image_size=16)
    splits, record = open_splits(config)
    assert record.images == {"train": [7, 7], "val": [1, 1], "test": [2, 2]}
    assert record.classes == ["a", "b"]
    for i in range(10):
        save(tmp_path / "a" / f"0{i}.png", photo(i))
    again = config.restore_splits(record)
    assert names(again) == names(splits)
    assert "not used: 10 images that came after the run began" in again.notes
    (tmp_path / "b" / "3.png").rename(tmp_path / "b" / "three.png")
    with pytest.raises(InputError, match=r"1 of the 20 files of this run are not in .*, such as 'b/3\.png'"):
        config.restore_splits(record)


def test_a_run_keeps_the_rule_of_resizing_and_says_if_it_was_another(tmp_path: Path) -> None:
    config = ImageFolder(root=str(image_folder(tmp_path / "photos")), image_size=16)
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    _, record = open_splits(config)
    assert record.resize == "antialiased bilinear, center crop of 0.875"
    for rule, expected in ((record.resize, 0), (None, 1), ("nearest", 1)):
        run.save_json("data.json", record.model_copy(update={"resize": rule}).model_dump())
        _, again = open_splits(config, run)
        assert sum("resized by another rule" in note for note in again.notes) == expected
        assert again.resize == record.resize


def test_many_classes_are_folded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for k in range(30):
        for i in range(3 + k % 2 + (k == 7)):
            save(tmp_path / f"class{k:02}" / f"{i}.png", photo(i))
    _, record = open_splits(ImageFolder(root=str(tmp_path), image_size=16))
    summary.print_data(record)
    out = capsys.readouterr().out
    assert "30 classes" in out
    assert "class00 (the smallest in train)" in out
    assert "class07 (the largest in train)" in out
    assert "class11, …" in out
    assert "class12" not in out


# ---- how an image is read


def test_every_image_reaches_the_network_at_one_size(tmp_path: Path) -> None:
    from regulo.data.components.datamodule import ImageDataModule
    from regulo.regularizers.augment import Augment

    for c in "ab":
        for i, size in enumerate([(20, 60), (60, 20), (9, 9), (100, 90), (24, 24), (33, 47)]):
            save(tmp_path / c / f"{i}.png", photo(i, *size))
    spec = ImageFolder(root=str(tmp_path), image_size=24, batch_size=4, num_workers=0)
    splits = spec.splits()
    data = ImageDataModule(spec, splits, 0, train_transforms=Augment().transform([spec.resize()], splits.dataset_info))
    for loader in (data.train_dataloader(), data.evaluation_loader("val"), data.evaluation_loader("test")):
        assert {tuple(b.images.shape[1:]) for b in loader} == {(3, 24, 24)}


def test_every_format_is_read_as_a_viewer_shows_it(tmp_path: Path) -> None:
    read = lambda p, c=3: read_image(str(p).encode(), c)  # noqa: E731
    color = photo(0)
    gray = color[..., 0]
    assert (read(save(tmp_path / "rgb.png", color)) == color).all()
    assert (read(save(tmp_path / "gray.png", gray)) == gray[..., None]).all()
    assert read(save(tmp_path / "gray1.png", gray), 1).shape == (20, 30, 1)
    transparent = np.dstack([color, np.zeros((20, 30), "uint8")])
    assert (read(save(tmp_path / "transparent.png", transparent)) == 255).all(), "transparent is white"
    opaque = np.dstack([color, np.full((20, 30), 255, "uint8")])
    assert (read(save(tmp_path / "opaque.png", opaque)) == color).all()
    palette = Image.fromarray(color).quantize(16)
    palette.save(tmp_path / "palette.png")
    assert (read(tmp_path / "palette.png") == np.asarray(palette.convert("RGB"))).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    Image.fromarray(color).save(tmp_path / "turned.png", exif=exif)
    assert (read(tmp_path / "turned.png") == np.rot90(color, -1)).all()


def test_every_unreadable_file_is_named_before_training(tmp_path: Path) -> None:
    image_folder(tmp_path)
    (tmp_path / "a" / "text.png").write_text("no image")
    (tmp_path / "b" / "empty.jpg").touch()
    content = save(tmp_path / "b" / "torn.jpg", photo(1, 200, 200)).read_bytes()
    (tmp_path / "b" / "torn.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError) as refusal:
        open_folder(tmp_path)
    message = " ".join(str(p) for p in refusal.value.problems)
    for name in ("text.png", "empty.jpg", "torn.jpg"):
        assert name in message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no folder"),
        (lambda p: p.mkdir(), "at least two"),
        (lambda p: image_folder(p, "a"), "at least two"),
        (lambda p: [(p / c).mkdir(parents=True) for c in "ab"], "no image below"),
        (lambda p: (image_folder(p / "train"), image_folder(p / "val", "abc")), "'c', which train does not have"),
    ],
)
def test_a_wrong_folder_is_refused_with_its_reason(make: object, message: str, tmp_path: Path) -> None:
    make(tmp_path / "images")  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        open_folder(tmp_path / "images")


def test_image_folder_needs_a_root() -> None:
    with pytest.raises(InputError, match=r"data\.root=path"):
        ImageFolder().splits()


# ---- more than 8 bits


def save_integers(path: Path, array: np.ndarray, dtype: str, orientation: int = 1) -> None:
    """A TIFF of little-endian integers, (H, W) or (H, W, 3); Pillow cannot save all of them."""
    height, width, *rest = array.shape
    channels = rest[0] if rest else 1
    raw = array.astype(dtype).tobytes()
    bits, sample_format, start = 8 * np.dtype(dtype).itemsize, 2 if "i" in dtype else 1, 8 + 2 + 12 * 11 + 4
    depths = struct.pack("<3H", bits, bits, bits)
    tags = [(256, width), (257, height), (258, bits if channels == 1 else start), (259, 1), (262, 1 if channels == 1 else 2)]
    tags += [
        (273, start + len(depths)),
        (274, orientation),
        (277, channels),
        (278, height),
        (279, len(raw)),
        (339, sample_format),
    ]
    fields = [
        struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, channels if tag == 258 else 1, value) for tag, value in tags
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(fields) + bytes(4) + depths + raw)


def save_int16(path: Path, array: np.ndarray) -> None:
    """As CT scanners write."""
    save_integers(path, array, "<i2")


def save_deep(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 else array)


DEEP: dict[str, tuple[Callable[[Path, np.ndarray], object], str, int, int]] = {
    "CT, signed 16 bits": (save_int16, "tif", -1000, 1000),
    "12 of 16 bits": (save_deep, "png", 0, 4095),
    "a narrow range of 16 bits": (save_deep, "png", 500, 700),
    "all 16 bits": (save_deep, "tif", 0, 65535),
    "32 bits": (lambda path, array: save(path, array.astype("int32")), "tif", 0, 10**6),
    "16 bits of a PGM": (save_deep, "pgm", 0, 65535),
}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("verify", ["full", "header", "none"])
def test_deep_pixels_have_one_scale_for_all_files(kind: str, verify: str, tmp_path: Path) -> None:
    write, ending, low, high = DEEP[kind]
    ramp = np.linspace(low, high, 20 * 30).round().reshape(20, 30)
    dark = np.full((20, 30), low + (high - low) // 4)
    dtype = "int16" if low < 0 else "uint16" if high < 2**16 else "int32"
    for folder in (tmp_path / part / c for part in ("train", "val", "test") for c in "ab"):
        for i in range(3):
            write(folder / f"{i}.{ending}", (ramp if i else dark).astype(dtype))
    splits = open_folder(tmp_path, channels=1, verify_images=verify)
    assert splits.dataset_info.pixel_range == (low, high)
    exact = (ramp - low) / (high - low) * 255
    for _, split in splits.items():
        assert abs(split.images[1][..., 0] - exact).max() <= 0.5 + 1e-9
        assert set(np.unique(split.images[0])) <= {63, 64}
    (note,) = (note for note in splits.notes if "8 bits" in note)
    assert f"{low:,} to {high:,} become 0 to 255" in note
    assert f"{high - low + 1:,} levels become {min(high - low + 1, 256)}" in note


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_deep_colors_are_not_cut_to_8_bits(ending: str, channels: int, tmp_path: Path) -> None:
    """Pillow itself would keep 4 of the 1,024 levels."""
    pixels = rng().integers(0, 1024, (20, 30, 3)).astype("uint16")
    opaque = np.dstack([pixels, np.full((20, 30), 65535, "uint16")])
    for c in "ab":
        for i in range(3):
            path = tmp_path / c / f"{i}.{ending}"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), cv2.cvtColor(opaque, cv2.COLOR_RGBA2BGRA) if channels == 4 else pixels[..., ::-1])
    splits = open_folder(tmp_path, pixel_range=(0, 1023))
    assert abs(splits.train.images[0] - pixels / 1023 * 255).max() <= 0.5 + 1e-9


def test_the_range_is_measured_on_training_files_only_and_clips_the_others(tmp_path: Path) -> None:
    for part, high in (("train", 1000), ("val", 4000), ("test", 500)):
        for c in "ab":
            for i in range(3):
                save_deep(tmp_path / part / c / f"{i}.png", np.linspace(0, high, 600).reshape(20, 30).astype("uint16"))
    splits = open_folder(tmp_path)
    assert splits.dataset_info.pixel_range == (0, 1000)
    assert splits.val.images[0].max() == 255
    assert splits.test.images[0].max() == 128


def test_pixels_without_an_agreed_range_are_refused(tmp_path: Path) -> None:
    image_folder(tmp_path)
    deep = save(tmp_path / "deep.png", np.full((8, 8), 3000, "uint16"))
    with pytest.raises(ValueError, match="there is no agreed range"):
        read_image(os.fsencode(deep), 3)
    save(tmp_path / "a" / "float.tif", np.full((20, 20), 0.5, "float32"))
    with pytest.raises(InputError, match=r"float\.tif.*floating-point pixels have no agreed range"):
        open_folder(tmp_path)


def test_32_bits_without_a_sign_stay_positive(tmp_path: Path) -> None:
    """Pillow would read 3,000,000,000 as -1,294,967,296."""
    pixels = np.linspace(0, 2**32 - 1, 600).round().reshape(20, 30).astype("uint32")
    save_integers(tmp_path / "u.tif", pixels, "<u4")
    report = inspect_image(os.fsencode(tmp_path / "u.tif"), 1, decode=True)
    assert (report.low, report.high) == (0, 2**32 - 1)
    image = read_image(os.fsencode(tmp_path / "u.tif"), 1, (report.low, report.high))
    assert abs(image[..., 0] - pixels / (2**32 - 1) * 255).max() <= 0.5 + 1e-6


def test_the_alpha_channel_is_not_measured(tmp_path: Path) -> None:
    for c in "ab":
        for i in range(4):
            colors = np.linspace(100, 4095, 600).reshape(20, 30, 1).repeat(3, 2)
            save_deep_alpha(tmp_path / c / f"{i}.png", np.dstack([colors, np.full((20, 30), 65535)]).astype("uint16"))
    assert open_folder(tmp_path).dataset_info.pixel_range == (100, 4095)


def save_deep_alpha(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), array[..., [2, 1, 0, 3]])


def test_16_bits_per_pixel_are_not_16_per_channel(tmp_path: Path) -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 16, 3, 128, 0, 0, 0, 0) + struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    (tmp_path / "red.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 194, 0, 0, 66) + header + struct.pack("<H", 0xF800) * 64)
    assert not inspect_image(os.fsencode(tmp_path / "red.bmp"), 3, decode=True).deep
    assert (read_image(os.fsencode(tmp_path / "red.bmp"), 3, (0, 4000)) == [255, 0, 0]).all()


def test_16_bits_in_a_ppm_of_text_are_not_cut(tmp_path: Path) -> None:
    (tmp_path / "text.ppm").write_text("P3\n2 1\n65535\n300 500 700 1000 1500 2000\n")
    image = read_image(os.fsencode(tmp_path / "text.ppm"), 3, (0, 2550))
    assert image.tolist() == [[[30, 50, 70], [100, 150, 200]]]


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("kind", ["gray", "rgb", "gray16", "rgb16"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_upright_once(orientation: int, kind: str, compression: str | None, tmp_path: Path) -> None:
    color = photo(0)
    pixels = color[..., 0] if kind.startswith("gray") else color
    file = tmp_path / "turned.tif"
    if kind == "rgb16":
        save_integers(file, pixels, "<u2", orientation)
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        array = pixels.astype("uint16") if kind == "gray16" else pixels
        Image.fromarray(array).save(file, exif=exif, compression=compression)
    turn = {1: (0, 0), 2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (1, 1), 6: (-1, 0), 7: (-1, 1), 8: (1, 0)}
    quarters, mirror = turn[orientation]
    expected = np.rot90(pixels[:, ::-1] if mirror else pixels, quarters)
    image = read_image(os.fsencode(file), 1 if pixels.ndim == 2 else 3, (0, 255))
    assert (image.squeeze() == expected).all()


def test_a_range_for_8_bits_has_no_effect_and_is_said(tmp_path: Path) -> None:
    image_folder(tmp_path)
    assert (
        "data.pixel_range has no effect: none of the files has more than 8 bits"
        in open_folder(tmp_path, pixel_range=(0, 9)).notes
    )


# ---- extreme shapes


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 400_000), (3, 1000)])
def test_of_a_very_long_image_the_middle_is_used(shape: tuple[int, int], tmp_path: Path) -> None:
    image_folder(tmp_path)
    pixels = photo(0, *shape)
    save(tmp_path / "a" / "long.png", pixels)
    splits = open_folder(tmp_path, image_size=64)
    assert any("1 files with an image more than 16 times as long as wide" in note for note in splits.notes)
    image = read_image(os.fsencode(tmp_path / "a" / "long.png"), 3)
    assert max(image.shape[:2]) == MAX_ASPECT * min(shape)
    start = (max(shape) - max(image.shape[:2])) // 2
    middle = pixels[:, start : start + image.shape[1]] if shape[0] < shape[1] else pixels[start : start + image.shape[0]]
    assert (image == middle).all()


def test_of_several_frames_the_first_is_used(tmp_path: Path) -> None:
    image_folder(tmp_path)
    pages = [Image.fromarray(photo(i)) for i in range(3)]
    pages[0].save(tmp_path / "a" / "pages.tif", save_all=True, append_images=pages[1:])
    assert any("1 files with several frames or pages: the first" in note for note in open_folder(tmp_path).notes)
    assert (read_image(os.fsencode(tmp_path / "a" / "pages.tif"), 3) == photo(0)).all()


def test_deep_files_beside_training_files_of_8_bits_are_refused_before_training(tmp_path: Path) -> None:
    for part in ("train", "test"):
        image_folder(tmp_path / part, n=4)
    deep = np.linspace(0, 4000, 600).reshape(20, 30).astype("uint16")
    save_deep(tmp_path / "test" / "a" / "deep.png", deep)
    with pytest.raises(InputError, match=r"1 files of val or test have more than 8 bits per channel"):
        open_folder(tmp_path)
    assert open_folder(tmp_path, pixel_range=(0, 4000)).dataset_info.pixel_range == (0, 4000)


def test_a_range_needs_two_values_in_order(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="smaller than the second"):
        ImageFolder(root=str(tmp_path), pixel_range=(5, 5))


def test_without_a_full_check_the_other_processes_use_the_range_of_the_first(tmp_path: Path, monkeypatch: Any) -> None:
    """They do not decode all files: what they measure themselves would be another range."""
    monkeypatch.setattr(image_check, "MAX_MEASURED_FILES", 1)
    for c in "ab":
        for i in range(4):
            save_deep(tmp_path / "photos" / c / f"{i}.png", np.full((20, 30), 1000 * (i + 1), "uint16"))
    config = ImageFolder(root=str(tmp_path / "photos"), image_size=16)
    _, record = open_splits(config)
    quick = config.model_copy(update={"verify_images": "none"})
    assert open_splits(quick)[1].identity() != record.identity()
    run = RunFolder(tmp_path)
    run.save_json("data.json", record.model_dump())
    assert open_splits(quick, run)[1].identity() == record.identity()


# ---- reports from the trackers of other projects


def with_exif(path: Path, payload: bytes) -> None:
    """A JPEG with these EXIF data."""
    file = io.BytesIO()
    Image.fromarray(photo(0)).save(file, "JPEG")
    content = file.getvalue()
    path.write_bytes(content[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + content[2:])


@pytest.mark.filterwarnings("ignore:.*(EXIF|Tag data)")
def test_damaged_exif_data_are_counted_once_and_the_image_is_used(tmp_path: Path) -> None:
    """jindongwang/transferlearning, issue 92: a warning for every such file in every epoch."""
    image_folder(tmp_path)
    with_exif(tmp_path / "a" / "short.jpg", b"Exif\0\0II*\0\x08\0\0\0\x05\0" + b"x" * 30)
    with_exif(tmp_path / "a" / "long.jpg", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\xff\xff\0\x06\0\0\0\0\0\0")
    splits = open_folder(tmp_path)
    assert any(note.startswith("2 files with damaged EXIF data") for note in splits.notes)
    assert read_image(os.fsencode(tmp_path / "a" / "short.jpg"), 3).shape == (20, 30, 3)


def test_big_endian_16_bits_are_scaled_and_not_cut(tmp_path: Path) -> None:
    """unslothai/unsloth, pull request 10094; python-pillow/Pillow, issue 5991."""
    pixels = rng().integers(0, 65536, (20, 30))
    raw = pixels.astype(">u2").tobytes()
    tags = [(256, 3, 30), (257, 3, 20), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 122), (277, 3, 1), (278, 3, 20)]
    fields = b"".join(
        struct.pack(">HHI", tag, kind, 1) + (struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value))
        for tag, kind, value in [*tags, (279, 4, len(raw))]
    )
    (tmp_path / "big.tif").write_bytes(b"MM\0*" + struct.pack(">IH", 8, 9) + fields + bytes(4) + raw)
    image = read_image(os.fsencode(tmp_path / "big.tif"), 1, (0, 65535))
    assert abs(image[..., 0] - pixels / 257).max() <= 0.5 + 1e-9


def test_what_is_held_out_does_not_depend_on_the_order_of_the_names(tmp_path: Path) -> None:
    """keras-team/keras-preprocessing, pull request 254: validation got all Siamese cats, because their names come last."""
    for c in "ab":
        for breed in ("balinese", "persian", "siamese"):
            for i in range(40):
                save(tmp_path / c / f"{breed}{i:02}.png", photo(i, 4, 4))
    _, val, test = names(open_folder(tmp_path))
    for part in (val, test):
        counts = [sum(breed in path for path in part) for breed in ("balinese", "persian", "siamese")]
        assert min(counts) >= 3  # of 36, of which a third is expected


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    """pytorch/vision, issue 4925."""
    image_folder(tmp_path, "abc")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none 0; each class needs at least 3"):
        open_folder(tmp_path)


def test_predictions_have_the_names_of_the_classes_and_not_their_places(tmp_path: Path) -> None:
    """facebookresearch/deit, issue 130: folders 0 to 234 are sorted as text, and the output 2 was not the folder 2."""
    for name in ("0", "1", "2", "10", "11"):
        for i in range(4):
            save(tmp_path / name / f"{i}.png", np.full((8, 8, 3), int(name), "uint8"))
    splits = open_folder(tmp_path, image_size=8)
    for _, split in splits.items():
        for i, label in enumerate(split.labels):
            assert splits.dataset_info.classes[label] == str(split.images[i][0, 0, 0])


def test_a_file_is_decoded_only_as_a_picture_whatever_its_name_says(tmp_path: Path) -> None:
    """Pillow would run another program, Ghostscript, on an EPS file."""
    image_folder(tmp_path)
    Image.fromarray(photo(0)).save(tmp_path / "a" / "0.png", format="EPS")
    with pytest.raises(InputError, match=r"0\.png.*cannot identify image file"):
        open_folder(tmp_path)


def test_a_file_that_does_not_fit_into_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    splits = open_folder(image_folder(tmp_path))
    monkeypatch.setattr("regulo.data.components.file_images.read_image", fail)
    with pytest.raises(UnreadableImageError, match=r"no memory is left to decode '.*a/\d\.png'"):
        splits.train.images[0]
