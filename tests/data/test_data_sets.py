"""The real loading code of every data set, on the shipped images or on small files made here."""

import gzip
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

from regulo.core.errors import InputError
from regulo.data import fashion_mnist, fashion_mnist_mini
from regulo.data.cifar10 import Cifar10
from regulo.data.cifar100 import Cifar100
from regulo.data.fashion_mnist import FashionMnist
from regulo.data.fashion_mnist_mini import FashionMnistMini
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
