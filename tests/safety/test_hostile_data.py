"""Data sets from strangers: archives, pickles, folders with loops, pipes and strange names."""

import io
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from regulo.core import registry
from regulo.core.errors import InputError
from tests.safety.conftest import run_command
from tests.safety.test_hostile_runs import Payload


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads fail as without network; everything else works."""
    import urllib.request

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", fail)


@pytest.mark.parametrize("member", ["../outside", "/tmp/regulo-outside", "link"])
def test_a_replaced_archive_is_not_unpacked(member: str, tmp_path: Path, no_network: None) -> None:
    """torchvision would follow `..` when it unpacks, but it refuses the archive first: the checksum is not the published one."""
    root = tmp_path / "root"
    root.mkdir()
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo(member)
        if member == "link":
            info.type, info.linkname = tarfile.SYMTYPE, "/etc"
            archive.addfile(info)
        else:
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(InputError, match="CIFAR10"):
        registry.get_plugin("data", "cifar10")(root=str(root)).splits()
    assert not (tmp_path / "outside").exists()
    assert not Path("/tmp/regulo-outside").exists()
    assert [p.name for p in root.iterdir() if p.is_symlink() or p.is_dir()] == []


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_replaced_batches_which_are_pickles_are_not_unpickled(name: str, tmp_path: Path, no_network: None) -> None:
    folder = tmp_path / "root" / {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[name]
    folder.mkdir(parents=True)
    bomb = pickle.dumps(Payload(tmp_path / "owned"))
    for file in ("data_batch_1", "data_batch_2", "test_batch", "batches.meta", "train", "test", "meta"):
        (folder / file).write_bytes(bomb)
    with pytest.raises(InputError):
        registry.get_plugin("data", name)(root=str(tmp_path / "root")).splits()
    assert not (tmp_path / "owned").exists()


def test_replaced_idx_files_are_refused_by_their_checksum(tmp_path: Path, no_network: None) -> None:
    import gzip

    from regulo.data.fashion_mnist import SHA256

    for name in SHA256:
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(b"x" * 1000))
    with pytest.raises(InputError, match="checksum differs"):
        registry.get_plugin("data", "fashion_mnist")(root=str(tmp_path)).splits()
    (tmp_path / "fashion_mnist_mini.bz2").write_bytes(b"x")
    with pytest.raises(InputError, match="checksum differs"):
        registry.get_plugin("data", "fashion_mnist_mini")(root=str(tmp_path)).splits()


def make_images(root: Path, *classes: str) -> Path:
    for k, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(8):
            Image.new("RGB", (12, 12), (40 * k + i,) * 3).save(root / name / f"{i}.png")
    return root


def load_splits(root: Path, **more: Any) -> Any:
    return registry.get_plugin("data", "image_folder")(
        root=str(root), image_size=8, val_fraction=0.25, test_fraction=0.25, **more
    ).splits()


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    root = make_images(tmp_path / "images", "a", "b")
    (root / "a" / "loop").symlink_to(root)
    (root / "b" / "self").symlink_to(root / "b" / "self")
    splits = load_splits(root)
    assert sum(len(s.labels) for s in (splits.train, splits.val, splits.test)) == 16


STRANGE: dict[str, Callable[[Path], object]] = {
    "pipe.png": os.mkfifo,
    "gone.png": lambda file: file.symlink_to("nowhere"),
    "device.png": lambda file: file.symlink_to("/dev/zero"),
    "two\nlines.png": lambda file: file.write_bytes(b""),
}


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("check", ["full", "header"])
def test_what_is_named_like_an_image_and_is_none_is_refused_without_waiting(name: str, check: str, tmp_path: Path) -> None:
    root = make_images(tmp_path / "images", "a", "b")
    STRANGE[name](root / "a" / name)
    with pytest.raises(InputError) as refusal:
        load_splits(root, verify_images=check)
    (message,) = map(str, refusal.value.problems)
    assert name.replace("\n", "\\n") in message
    assert message.isprintable()


CLASSES = ("<script>alert(1)</script>".replace("/", "∕"), "$x^{", "-rf", "x" * 200, "éè日本", "a'b\"c", "{{7*7}}")


def test_classes_of_any_name_train_and_their_page_is_only_text(run: Any, tmp_path: Path) -> None:
    root = make_images(tmp_path / "images", *CLASSES)
    overrides = [
        "data=image_folder",
        f"data.root={root}",
        "data.image_size=8",
        "data.batch_size=8",
        "callbacks=default",
        "trainer=cpu",
    ]
    folder, result = run(*overrides, "data.val_fraction=0.25", "data.test_fraction=0.25")
    assert result["status"] == "done"
    code, _, err = run_command(["report", str(folder)])
    assert code == 0, err
    page = (folder / "report.html").read_text()
    assert "<script" not in page
    assert run_command(["evaluate", str(folder)])[0] == 0
    assert run_command(["predict", str(folder), str(root)])[0] == 0


@pytest.mark.parametrize("name", ["\x1b[2J", "two\nlines", "\x7f"])
def test_a_class_whose_name_cannot_be_shown_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no readable name") as refusal:
        load_splits(make_images(tmp_path / "images", "a", "b", name))
    assert str(refusal.value).isprintable()
