"""The real loading code of every data set, on the shipped images or on small files made here."""

import gzip
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regulo.core.errors import InputError
from regulo.data import fashion_mnist, fashion_mnist_mini
from regulo.data.cifar10 import Cifar10
from regulo.data.cifar100 import Cifar100
from regulo.data.components.image_io import read_image
from regulo.data.fashion_mnist import FashionMnist
from regulo.data.fashion_mnist_mini import FashionMnistMini
from regulo.data.image_folder import ImageFolder
from tests.conftest import rng


def test_the_shipped_data_are_balanced_disjoint_and_small() -> None:
    splits = FashionMnistMini().splits()
    for split, per_class in ((splits.train, 500), (splits.val, 100), (splits.test, 500)):
        assert np.bincount(split.labels).tolist() == [per_class] * 10
        assert np.asarray(split.images).shape[1:] == (28, 28, 1)
    train = {np.asarray(i).tobytes() for i in splits.train.images}  # type: ignore[attr-defined]
    assert not train & {np.asarray(i).tobytes() for i in splits.val.images}  # type: ignore[attr-defined]
    assert fashion_mnist_mini.FILE.stat().st_size < 6_000_000
    assert splits.dataset_info.num_classes == 10


def test_damaged_shipped_data_are_refused(tmp_path: Path) -> None:
    (tmp_path / fashion_mnist_mini.FILE.name).write_bytes(fashion_mnist_mini.FILE.read_bytes()[:-1])
    with pytest.raises(InputError, match="checksum"):
        FashionMnistMini(root=str(tmp_path)).splits()


@pytest.mark.skipif(not fashion_mnist.DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_the_shipped_file_is_rebuilt_byte_for_byte_from_the_original(tmp_path: Path) -> None:
    import runpy

    script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "build_fashion_mnist_mini.py"))
    assert script["build"](fashion_mnist.DEBIAN) == fashion_mnist_mini.FILE.read_bytes()


@pytest.mark.skipif(not fashion_mnist.DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_the_whole_data_set_is_found_in_debians_folder(tmp_path: Path) -> None:
    splits = FashionMnist(root=str(tmp_path / "none")).splits()
    assert [len(s.labels) for s in (splits.train, splits.val, splits.test)] == [54_000, 6_000, 10_000]
    assert np.bincount(splits.val.labels).tolist() == [600] * 10
    assert splits.dataset_info.mean[0] == pytest.approx(0.2860, abs=1e-3)


def write_idx_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """60 training and 20 test images in the format of Fashion-MNIST, with their checksums."""
    checksums = {}
    for part, n in (("train", 60), ("t10k", 20)):
        images = bytes(16) + rng().integers(0, 256, n * 784, dtype="uint8").tobytes()
        labels = bytes(8) + (np.arange(n) % 10).astype("uint8").tobytes()
        for kind, content in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            (folder / f"{kind}.gz").write_bytes(gzip.compress(content))
            checksums[kind] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(fashion_mnist, "SHA256", checksums)


def test_fashion_mnist_is_read_from_root_and_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx_files(tmp_path, monkeypatch)
    splits = FashionMnist(root=str(tmp_path), val_fraction=0.2).splits()
    assert [len(s.labels) for s in (splits.train, splits.val, splits.test)] == [50, 10, 20]
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(28)))
    with pytest.raises(InputError, match=r"t10k-labels.*checksum"):
        FashionMnist(root=str(tmp_path)).splits()
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="cannot be read"):
        FashionMnist(root=str(tmp_path)).splits()


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    def offline(*_: object, **__: object) -> None:
        raise RuntimeError("Error downloading")

    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "none")
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", offline)
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", offline)
    with pytest.raises(InputError, match="dataset-fashion-mnist"):
        FashionMnist(root=str(tmp_path)).splits()
    with pytest.raises(InputError, match="fashion_mnist_mini"):
        Cifar10(root=str(tmp_path)).splits()


@pytest.mark.parametrize(("cls", "classes"), [(Cifar10, 10), (Cifar100, 100)])
def test_cifar_is_read_by_torchvision(cls: type[Cifar10], classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    dataset_class = getattr(datasets, cls.torchvision_name)
    folder = tmp_path / dataset_class.base_folder
    folder.mkdir()

    def save(name: str, content: object) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    n = 2 * classes
    files = []
    for part in [dataset_class.train_list[0][0], dataset_class.test_list[0][0]]:
        content = {"data": rng().integers(0, 256, (n, 3072), dtype="uint8"), "labels": [i % classes for i in range(n)]}
        files.append(save(part, content if classes == 10 else {**content, "fine_labels": content["labels"]}))
    meta = save(dataset_class.meta["filename"], {dataset_class.meta["key"]: [f"class {k}" for k in range(classes)]})
    monkeypatch.setattr(dataset_class, "train_list", files[:1])
    monkeypatch.setattr(dataset_class, "test_list", files[1:])
    monkeypatch.setattr(dataset_class, "meta", dataset_class.meta | {"filename": meta[0], "md5": meta[1]})
    splits = cls(root=str(tmp_path), val_fraction=0.4).splits()
    assert np.asarray(splits.train.images).shape == (classes, 32, 32, 3)
    assert splits.dataset_info.classes[:2] == ("class 0", "class 1")
    assert len(splits.val.labels) == classes


# ---- image_folder


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)  # type: ignore[arg-type]
    return path


def photo(seed: int, height: int = 20, width: int = 30) -> np.ndarray:
    return rng(seed).integers(0, 256, (height, width, 3), dtype="uint8")


def image_folder(root: Path, classes: str = "ab", n: int = 10) -> Path:
    for c in classes:
        for i in range(n):
            save(root / c / f"{i}.png", photo(i))
    return root


def test_one_folder_is_split_by_class_and_the_same_in_every_run(tmp_path: Path) -> None:
    spec = ImageFolder(root=str(image_folder(tmp_path, n=20)), image_size=16, val_fraction=0.2, test_fraction=0.1)
    splits = spec.splits()
    assert [np.bincount(s.labels).tolist() for s in (splits.train, splits.val, splits.test)] == [[14] * 2, [4] * 2, [2] * 2]
    paths = [set(s.images.paths) for s in (splits.train, splits.val, splits.test)]  # type: ignore[attr-defined]
    assert len(set.union(*paths)) == 40
    assert (spec.splits().test.images.paths == splits.test.images.paths).all()  # type: ignore[attr-defined]
    assert splits.dataset_info.classes == ("a", "b")


def test_train_val_and_test_folders_are_used_and_missing_ones_are_held_out(tmp_path: Path) -> None:
    image_folder(tmp_path / "train", n=10)
    image_folder(tmp_path / "validation", n=3)
    splits = ImageFolder(root=str(tmp_path), image_size=16, test_fraction=0.2).splits()
    assert [len(s.labels) for s in (splits.train, splits.val, splits.test)] == [16, 6, 4]


def test_every_image_reaches_the_network_at_one_size(tmp_path: Path) -> None:
    from regulo.data.components.datamodule import ImageDataModule
    from regulo.regularizers.augment import Augment

    for c in "ab":
        for i, size in enumerate([(20, 60), (60, 20), (9, 9), (100, 90), (24, 24), (33, 47)]):
            save(tmp_path / c / f"{i}.png", photo(i, *size))
    spec = ImageFolder(root=str(tmp_path), image_size=24, batch_size=4, num_workers=0)
    splits = spec.splits()
    data = ImageDataModule(spec, splits, 0, train_transforms=Augment().transform(spec.resize_transforms(), splits.dataset_info))
    for loader in (data.train_dataloader(), data.evaluation_loader("val"), data.evaluation_loader("test")):
        assert {tuple(b.images.shape[1:]) for b in loader} == {(3, 24, 24)}


def test_every_format_is_read_as_a_viewer_shows_it(tmp_path: Path) -> None:
    load = lambda p, c=3: read_image(str(p).encode(), c)  # noqa: E731
    color = photo(0)
    gray = color[..., 0]
    assert (load(save(tmp_path / "rgb.png", color)) == color).all()
    assert (load(save(tmp_path / "gray.png", gray)) == gray[..., None]).all()
    assert load(save(tmp_path / "gray1.png", gray), 1).shape == (20, 30, 1)
    uint16 = (gray.astype("uint16") << 8) + gray
    assert (load(save(tmp_path / "uint16.png", uint16)) == gray[..., None]).all(), "16 bits are scaled, not clipped"
    transparent = np.dstack([color, np.zeros((20, 30), "uint8")])
    assert (load(save(tmp_path / "transparent.png", transparent)) == 255).all(), "transparent is white"
    opaque = np.dstack([color, np.full((20, 30), 255, "uint8")])
    assert (load(save(tmp_path / "opaque.png", opaque)) == color).all()
    palette = Image.fromarray(color).quantize(16)
    palette.save(tmp_path / "palette.png")
    assert (load(tmp_path / "palette.png") == np.asarray(palette.convert("RGB"))).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    Image.fromarray(color).save(tmp_path / "turned.png", exif=exif)
    assert (load(tmp_path / "turned.png") == np.rot90(color, -1)).all()


def test_every_unreadable_file_is_named_before_training(tmp_path: Path) -> None:
    image_folder(tmp_path)
    (tmp_path / "a" / "text.png").write_text("no image")
    (tmp_path / "b" / "empty.jpg").touch()
    content = save(tmp_path / "b" / "torn.jpg", photo(1, 200, 200)).read_bytes()
    (tmp_path / "b" / "torn.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError) as refusal:
        ImageFolder(root=str(tmp_path), image_size=16, test_fraction=0.01, val_fraction=0.01).splits()
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
        (lambda p: (image_folder(p, "a"), (p / "b").mkdir()), "too few images for training in the classes b"),
    ],
)
def test_a_wrong_folder_is_refused_with_its_reason(make: object, message: str, tmp_path: Path) -> None:
    make(tmp_path / "images")  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        ImageFolder(root=str(tmp_path / "images"), image_size=16).splits()


def test_image_folder_needs_a_root() -> None:
    with pytest.raises(InputError, match=r"data\.root=path"):
        ImageFolder().splits()
