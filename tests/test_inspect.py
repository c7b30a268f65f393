"""`regulo inspect`: what it finds in folders with planted faults, and in a clean one."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regulo.__main__ import main
from regulo.analysis.inspection.images import hash_image
from regulo.analysis.inspection.near_copies import MAX_PAIRS, find_near_pairs
from regulo.core.resize import resize_image
from regulo.data.components.copies import Copies, Place, find_copies
from regulo.data.image_folder import ImageFolder


def scene(seed: int, height: int = 60, width: int = 80) -> Image.Image:
    """A picture of large shapes, different for each seed."""
    colors = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), "uint8")
    return Image.fromarray(colors).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clean folder with three splits of two classes."""
    monkeypatch.chdir(tmp_path)
    seed = 0
    for part, n in (("train", 6), ("val", 3), ("test", 3)):
        for label in ("ants", "bees"):
            folder = tmp_path / "photos" / part / label
            folder.mkdir(parents=True)
            for i in range(n):
                seed += 1
                scene(seed).save(folder / f"{i}.jpg")
    return tmp_path / "photos"


def rows(file: str = "inspect.csv") -> list[dict[str, str]]:
    return list(csv.DictReader(Path(file).read_text().splitlines()))


def test_a_clean_folder_has_no_problem(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "photos"]) == 0
    out = capsys.readouterr().out
    assert "2 classes, 12 train, 6 val, 6 test" in out
    assert "nothing is wrong" in out
    page = Path("inspect.html").read_text()
    assert "Contact sheet" in page
    assert "JPEG, RGB" in page
    assert rows() == []


def test_planted_faults_are_found(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(photos / "train/ants/0.jpg", photos / "test/ants/leak.jpg")
    shutil.copy(photos / "train/ants/1.jpg", photos / "train/bees/other.jpg")
    shutil.copy(photos / "train/ants/2.jpg", photos / "train/ants/again.jpg")
    scene(4, 60, 80).resize((40, 30)).save(photos / "val/ants/smaller.jpg", quality=60)  # of train/ants/3.jpg
    (photos / "train/bees/page.jpg").write_text("<html>")
    assert main(["inspect", "data=image_folder", "data.root=photos", "--output", "page.html"]) == 1
    out = capsys.readouterr().out
    for line in (
        "problem: 1 file that cannot be read",
        "problem: 1 image of val and test with the content of an image in train or val",
        "problem: 1 picture under two classes",
        "look at: 1 pair of images that look alike in two splits",
        "look at: 1 picture more than once in one split and class",
    ):
        assert line in out
    found = {(row["finding"], os.path.basename(row["image"])) for row in rows("page.csv")}
    assert found == {
        ("unreadable", "page.jpg"),
        ("leak", "0.jpg"),
        ("leak", "leak.jpg"),
        ("two labels", "1.jpg"),
        ("two labels", "other.jpg"),
        ("near leak", "3.jpg"),
        ("near leak", "smaller.jpg"),
        ("copy", "2.jpg"),
        ("copy", "again.jpg"),
    }
    assert "cannot identify image file" in Path("page.html").read_text()
    (photos / "train/bees/page.jpg").unlink()
    assert "regulo inspect lists these images" in ImageFolder(root="photos").splits().notes


def test_an_imbalance_is_a_problem(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(60):
        scene(1000 + i).save(photos / f"train/bees/more{i}.jpg")
    assert main(["inspect", "photos"]) == 1
    assert "the largest class of train, bees, has 66 images, and the smallest, ants, has 6" in capsys.readouterr().out


def test_images_in_memory_are_inspected_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from regulo.data.fashion_mnist_mini import FashionMnistMini

    full = FashionMnistMini.splits

    def some(self: FashionMnistMini) -> object:
        import dataclasses

        splits = full(self)
        parts = {name: split.select(np.arange(40)) for name, split in splits.items()}
        parts["val"].images[0] = parts["train"].images[0]
        return dataclasses.replace(splits, **parts)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(FashionMnistMini, "splits", some)
    assert main(["inspect", "data=fashion_mnist_mini"]) == 1
    assert {row["image"] for row in rows() if row["finding"] == "leak"} == {"train 0", "val 0"}


@pytest.mark.parametrize("words", [["nowhere"], ["photos", "--output", "no/page.html"], ["photos", "data.rot=1"]], ids=str)
def test_bad_words_are_refused(words: list[str], photos: Path) -> None:
    assert main(["inspect", *words]) == 2
    assert not list(Path.cwd().glob("*.html"))


# ---- copies and pairs, against their definitions


def test_copies_are_grouped_by_content(tmp_path: Path) -> None:
    contents = {"a": b"one", "b": b"two", "c": b"one", "d": b"six", "e": b"two", "f": b"longer", "g": b"two"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = {
        split: np.array([os.fsencode(tmp_path / n) for n in names])
        for split, names in (("train", "abf"), ("val", "cdx"), ("test", "eg"))
    }
    labels = {"train": np.array([0, 1, 0]), "val": np.array([0, 1, 0]), "test": np.array([1, 0])}
    copies = find_copies(paths, labels)
    one = [Place("train", 0, 0), Place("val", 0, 0)]
    two = [Place("train", 1, 1), Place("test", 0, 1), Place("test", 1, 0)]
    assert sorted(map(list, copies.groups)) == sorted([one, two])
    assert len(copies.across_splits()) == 2
    assert copies.under_two_labels() == [two]
    assert copies.count_leaks() == 3
    assert Copies([]).notes() == []
    within_val = Copies([[Place("val", 0, 0), Place("val", 1, 0)]])
    assert within_val.count_leaks() == 0


@pytest.mark.parametrize("distance", [0, 1, 4, 9])
def test_near_pairs_are_those_of_enumeration(distance: int) -> None:
    rng = np.random.default_rng(distance)
    hashes = [int(h) for h in rng.integers(0, 2**63, 60)]
    for _ in range(90):  # neighbours at every distance
        bits = rng.choice(64, rng.integers(0, 12), replace=False)
        hashes.append(hashes[rng.integers(60)] ^ sum(1 << int(bit) for bit in bits))
    expected = [
        (i, j) for i in range(len(hashes)) for j in range(i + 1, len(hashes)) if (hashes[i] ^ hashes[j]).bit_count() <= distance
    ]
    assert find_near_pairs(hashes, distance) == expected
    assert len(expected) > 5


def test_images_that_are_all_alike_end_the_search() -> None:
    assert len(find_near_pairs([0] * 5000)) == MAX_PAIRS


def test_the_hash_survives_size_and_quality_and_tells_pictures_apart(tmp_path: Path) -> None:
    def hash_of(image: Image.Image) -> int:
        gray = np.asarray(image.convert("L"))[..., None]
        return hash_image(resize_image(gray, 32, 32, "bilinear"))

    hashes = []
    for seed in range(20):
        picture = scene(seed, 300, 400)
        picture.resize((123, 88)).save(tmp_path / "small.jpg", quality=50)
        with Image.open(tmp_path / "small.jpg") as small:
            assert (hash_of(picture) ^ hash_of(small)).bit_count() <= 4
        hashes.append(hash_of(picture))
    assert find_near_pairs(hashes, 8) == []


# ---- what a page must not do: replace other files, run in a spreadsheet, end with a traceback


def run_inspect(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["inspect", *words])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.mark.parametrize("page", ["photos.csv", "photos", "page.txt"])
def test_a_page_has_the_ending_of_a_page(photos: Path, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run_inspect(capsys, "photos", "--output", page)
    assert code == 2
    assert f"--output: {page} does not end in .html — {page}.html" in text
    assert sorted(os.listdir()) == ["photos"]


def test_no_file_is_replaced_but_those_of_an_earlier_inspection(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = "path,label\n" + "".join(f"train/{name}/{i}.jpg,{name}\n" for name in ("ants", "bees") for i in range(6))
    Path("labels.csv").write_text(table)
    words = ["data=image_table", "data.table=labels.csv", "data.root=photos"]
    code, text = run_inspect(capsys, *words, "--output", "labels.html")
    assert (code, Path("labels.csv").read_text()) == (2, table)
    assert "--output: labels.csv exists, and no regulo inspect has written it" in text
    Path("mine.html").write_text("<html>")
    assert run_inspect(capsys, *words, "--output", "mine.html")[0] == 2
    assert Path("mine.html").read_text() == "<html>"
    assert [run_inspect(capsys, *words, "--output", "page.html")[0] for _ in range(2)] == [0, 0]


def test_a_word_that_is_no_folder_is_refused_by_name(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("labels.csv").write_text("path,label\n")
    code, text = run_inspect(capsys, "photo")
    assert code == 2
    assert "photo: is neither a folder that is there nor key=value — did you mean photos?" in text
    code, text = run_inspect(capsys, "labels.csv")
    assert code == 2
    assert "data=image_table data.table=labels.csv" in text


def test_a_folder_in_the_home_folder_is_expanded(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(photos.parent))
    assert run_inspect(capsys, "~/photos")[0] == 0


def test_files_that_nobody_can_read_may_be_copies(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (photos / "train/ants/0.jpg", photos / "train/ants/1.jpg", photos / "test/bees/0.jpg"):
        file.write_bytes(b"")
    assert run_inspect(capsys, "photos")[0] == 1
    assert [row["finding"] for row in rows()] == ["unreadable"] * 3 + ["leak"] * 3 + ["two labels"] * 3


def test_names_reach_the_page_and_no_spreadsheet_runs_them(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "train").rename(photos / "all")
    (photos / "all/ants").rename(photos / "all/=cmd")
    shutil.copy(photos / "all/=cmd/0.jpg", os.fsencode(photos / "all/=cmd") + b"/\xe9.jpg")
    assert run_inspect(capsys, "photos/all")[0] == 0
    assert {(row["image"], row["class"]) for row in rows()} == {("./=cmd/0.jpg", "'=cmd"), ("./=cmd/\\udce9.jpg", "'=cmd")}
