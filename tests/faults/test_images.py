"""Folders of images with damaged files, and files that are damaged during training."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regulo.__main__ import main
from tests.faults.conftest import EPOCH, NOTHING, RUN, Fault, make_images, train_on


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 60)


def replace_by_text(path: Path) -> None:
    path.write_text("no image")


def remove_content(path: Path) -> None:
    path.write_bytes(b"")


def write_bomb(path: Path) -> None:
    """30,000 × 30,000 white pixels: 1 MB on the disk, 900 MB or more in memory."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    side = 30_000
    rows = zlib.compressobj()
    pixels = b"".join(rows.compress(bytes(side + 1)) for _ in range(side)) + rows.flush()
    header = side.to_bytes(4) + side.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "truncated": ("is truncated", truncate, "truncated"),
    "text": ("is swapped for text", replace_by_text, "cannot identify image file"),
    "empty": ("has no bytes", remove_content, "cannot identify image file"),
    "bomb": ("becomes a bomb of 30,000 × 30,000 pixels", write_bomb, "could be decompression bomb"),
    "removed": ("is removed", Path.unlink, "No such file or directory"),
}


def before_training(name: str) -> Any:
    what, damage, reason = DAMAGES[name]
    says = f"data.root: cannot read '…07.jpg': …{reason}"
    mark = pytest.mark.fault(f"An image {what}, before training", says=says, code=2, keeps=NOTHING)
    return pytest.param(damage, marks=mark, id=name)


def during_training(name: str) -> Any:
    what, damage, reason = DAMAGES[name]
    says = f"regulo: the run failed: data.root: cannot read '…': …{reason}… — repair, replace or remove it"
    return pytest.param(
        damage, marks=pytest.mark.fault(f"An image {what}, during training", says=says, code=1, keeps=EPOCH), id=name
    )


@pytest.mark.parametrize("damage", [before_training(name) for name in DAMAGES if name != "removed"])
def test_damaged_before_training(damage: Callable[[Path], object], fault: Fault, tmp_path: Path) -> None:
    damage(make_images(tmp_path / "images") / "a" / "07.jpg")
    fault.train(*train_on(tmp_path / "images"))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", [during_training(name) for name in DAMAGES])
def test_damaged_during_training(
    damage: Callable[[Path], object], workers: int, fault: Fault, tmp_path: Path, in_epoch_1: Any
) -> None:
    root = make_images(tmp_path / "images")
    bad_image = tmp_path / "images" / "a" / "07.jpg"

    def inject(task: Any) -> None:
        damage(bad_image)
        for path in set(root.rglob("*.jpg")) - {bad_image}:  # so that any image that is read next is damaged
            path.unlink()
            if bad_image.exists():
                path.hardlink_to(bad_image)

    in_epoch_1(inject)
    fault.train(*train_on(root), f"data.num_workers={workers}")


@pytest.mark.fault(
    "An image is truncated, and `data.verify_images` does not look at it",
    says="data.root: cannot read '…08.jpg': image file is truncated… — repair, replace or remove it",
    code=2,
    keeps=NOTHING,
)
@pytest.mark.parametrize("check", ["header", "none"])
def test_truncated_and_not_checked(check: str, fault: Fault, tmp_path: Path) -> None:
    truncate(make_images(tmp_path / "images") / "a" / "08.jpg")  # which is not held out
    fault.train(*train_on(tmp_path / "images"), f"data.verify_images={check}")


@pytest.mark.fault(
    "A class folder is empty",
    says="data.root: too few images for training: c 0; each class needs at least 3",
    code=2,
    keeps=NOTHING,
)
def test_empty_class(fault: Fault, tmp_path: Path) -> None:
    (make_images(tmp_path / "images") / "c").mkdir()
    fault.train(*train_on(tmp_path / "images"))


@pytest.mark.fault(
    "There is one class only", says="has 1 class folders, and a classifier needs at least two", code=2, keeps=NOTHING
)
def test_one_class(fault: Fault, tmp_path: Path) -> None:
    fault.train(*train_on(make_images(tmp_path / "images", "a")))


@pytest.mark.fault(
    "Validation has a class that training does not have",
    says="val has the class 'c', which train does not have",
    code=2,
    keeps=NOTHING,
)
def test_unseen_class(fault: Fault, tmp_path: Path) -> None:
    make_images(tmp_path / "images" / "train")
    make_images(tmp_path / "images" / "val", "abc")
    fault.train(*train_on(tmp_path / "images"))


@pytest.mark.fault("Validation lacks a class that training has", says="", code=0, keeps=RUN)
def test_class_lacking_in_validation(fault: Fault, tmp_path: Path) -> None:
    make_images(tmp_path / "images" / "train", "abc")
    make_images(tmp_path / "images" / "val", "ab")
    fault.train(*train_on(tmp_path / "images"))


@pytest.mark.fault("There are fewer images than a batch takes", says="", code=0, keeps=RUN)
def test_fewer_images_than_a_batch(fault: Fault, tmp_path: Path) -> None:
    result = fault.train(*train_on(make_images(tmp_path / "images", n=10)), "data.batch_size=512")
    assert result["steps"] == 2, "one step per epoch"


@pytest.mark.fault("One image is left over for the last batch, and the model has BatchNorm", says="", code=0, keeps=RUN)
def test_last_batch_of_one(fault: Fault, tmp_path: Path) -> None:
    for part, n in (("train", 10), ("val", 9), ("test", 9)):  # times two classes
        make_images(tmp_path / "images" / part, n=n)
    (tmp_path / "images" / "train" / "a" / "00.jpg").unlink()
    (tmp_path / "images" / "val" / "a" / "00.jpg").unlink()
    result = fault.train(*train_on(tmp_path / "images"), "data.batch_size=6")
    assert result["steps"] == 6, "19 images: three steps of six, and the last one waits for the next epoch"


@pytest.mark.fault(
    "A batch is one image, and the model has BatchNorm",
    says="data.batch_size: BatchNorm has no variance in a batch of one image per device — use at least 2",
    code=2,
    keeps=NOTHING,
)
def test_batch_of_one(fault: Fault) -> None:
    fault.train("data.batch_size=1")


@pytest.mark.fault(
    "A label is out of range",
    says="data: image 3 of the train split has the label 12 — there are 10 classes: labels are 0 to 9",
    code=2,
    keeps=NOTHING,
)
def test_label_out_of_range(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip
    import hashlib

    from regulo.data import fashion_mnist

    checksums = {}
    for part, labels in (("train", [i % 10 for i in range(200)]), ("t10k", [i % 10 for i in range(50)])):
        if part == "train":
            labels[3] = labels[4] = 12
        for kind, content in (("images-idx3", bytes(16 + 784 * len(labels))), ("labels-idx1", bytes(8) + bytes(labels))):
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
            checksums[f"{part}-{kind}-ubyte"] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(fashion_mnist, "SHA256", checksums)
    fault.train("data=fashion_mnist", f"data.root={tmp_path}")


@pytest.mark.fault("Class and file names are not ASCII", says="", code=0, keeps=RUN)
def test_names_that_are_not_ascii(fault: Fault, tmp_path: Path) -> None:
    root = make_images(tmp_path / "Bilder ö", ("Äpfel & Birnen", "猫 $x$", "<b>🚀</b>"))
    os.rename(root / "猫 $x$" / "00.jpg", os.fsencode(root / "猫 $x$") + b"/\xff.jpg")
    overrides = [o for o in train_on(root) if not o.startswith("data.root")]
    fault.train(*overrides, f"data.root='{root}'", "callbacks=default")
    assert main(["evaluate", str(fault.folder), "val"]) == 0


@pytest.mark.fault(
    "A class name cannot be shown", says="data.root: the class folder … has no readable name — rename it", code=2, keeps=NOTHING
)
@pytest.mark.parametrize("name", [b"a\nb", b"\xff"], ids=["line break", "no UTF-8"])
def test_class_name_that_cannot_be_shown(name: bytes, fault: Fault, tmp_path: Path) -> None:
    os.mkdir(os.fsencode(make_images(tmp_path / "images")) + b"/" + name)
    fault.train(*train_on(tmp_path / "images"))


def test_pillow_refuses_the_bomb(tmp_path: Path) -> None:
    write_bomb(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 2_000_000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "bomb.png")
    assert np.prod([30_000, 30_000]) == 9e8
