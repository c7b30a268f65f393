"""`regulo predict` and the same in Python: classes of files, in the form that is asked for."""

import csv
import errno
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import regulo
from regulo.__main__ import main
from regulo.core import affinity
from regulo.evaluation import prediction_files
from regulo.evaluation.image_loader import BATCH, load_images, num_workers
from regulo.evaluation.image_reader import ImageReader
from tests.conftest import FinishedRun


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 gray images of different sizes, in the order of their names."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(100):
        Image.fromarray(rng.integers(0, 256, (20 + i, 30), dtype="uint8")).save(folder / f"{i:03}.png")
    return folder


@pytest.fixture(scope="module")
def run_model(finished_run: FinishedRun) -> Any:
    return regulo.load(finished_run.folder)


def read_csv(file: Path) -> list[dict[str, Any]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def read_parquet(file: Path) -> list[dict[str, Any]]:
    return pytest.importorskip("pyarrow.parquet").read_table(file).to_pylist()


READ = {
    ".csv": read_csv,
    ".jsonl": lambda file: [json.loads(line) for line in file.read_text().splitlines()],
    ".parquet": read_parquet,
}


@pytest.mark.parametrize("ending", READ)
def test_a_file_has_the_best_classes_of_every_image_in_order(
    ending: str, finished_run: FinishedRun, run_model: Any, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / f"it{ending}"
    assert main(["predict", str(finished_run.folder), str(photos), "--top", "3", "--output", str(file)]) == 0
    rows = READ[ending](file)
    paths = sorted(photos.iterdir())
    assert [row["path"] for row in rows] == list(map(str, paths))
    values, labels = run_model.predict(paths).topk(3)
    for rank, suffix in enumerate(("", "_2", "_3")):
        assert [row[f"class{suffix}"] for row in rows] == [run_model.classes[k] for k in labels[:, rank].tolist()]
        probabilities = [float(row[f"probability{suffix}"]) for row in rows]
        assert probabilities == pytest.approx(values[:, rank].tolist(), abs=1e-4 if ending == ".csv" else 1e-6)
    assert list(tmp_path.iterdir()) == [file], "nothing is left beside it"


@pytest.mark.parametrize("ending", READ)
def test_unreadable_images_are_named_and_the_others_written(
    ending: str, finished_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "c.jpg"):
        (tmp_path / "in" / name).write_text("no image")
    words = ["predict", str(finished_run.folder), str(tmp_path / "in"), "--output"]
    assert main([*words, str(tmp_path / f"none{ending}")]) == 1
    assert READ[ending](tmp_path / f"none{ending}") == [], "also if no image is left, it is a file of this kind"
    Image.new("L", (30, 30)).save(tmp_path / "in" / "b.png")
    capsys.readouterr()
    assert main([*words, str(tmp_path / f"some{ending}")]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert [Path(line.split(": ")[1].removeprefix("unreadable image ")).name for line in errors[:-1]] == ["a.png", "c.jpg"]
    assert errors[-1] == "regulo: 2 of 3 images cannot be read, and are not predicted"
    assert [Path(row["path"]).name for row in READ[ending](tmp_path / f"some{ending}")] == ["b.png"]


def test_loader_processes_keep_the_order_and_lose_no_image(photos: Path, run_model: Any, tmp_path: Path) -> None:
    files = [*sorted(photos.iterdir()), tmp_path / "nowhere.png"]
    read = ImageReader(run_model.config.data, run_model.dataset_info)
    assert (num_workers(BATCH), num_workers(BATCH + 1) > 0) == (0, True)
    batches = list(load_images(files, read, num_workers=2, batch_size=16))
    assert [i for batch in batches for i in batch.indices.tolist()] == list(range(100))
    assert [place for batch in batches for place, _ in batch.errors] == [100]
    assert "No such file" in batches[-1].errors[0][1]
    assert torch.equal(torch.cat([b.images for b in batches]), torch.from_numpy(np.stack([read(f) for f in files[:100]])))


def test_torch_leaves_the_loader_processes_their_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        monkeypatch.setattr(affinity, "available_cores", lambda: [0, 1, 2, 3])
        for processes, expected in ((0, 4), (1, 3), (8, 1)):
            with affinity.leave_cores(processes):
                assert torch.get_num_threads() == expected
            assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(threads)


def test_test_time_augmentation_is_the_mean_over_views(run_model: Any, photos: Path) -> None:
    pixels = [np.asarray(Image.open(file)) for file in sorted(photos.iterdir())[:3]]
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in pixels]
    square = [np.resize(image, (28, 28)) for image in pixels]  # no resizing, which is not symmetric to the last bit
    expected = (run_model.predict(square) + run_model.predict([image[:, ::-1].copy() for image in square])) / 2
    torch.testing.assert_close(run_model.predict(square, tta="flip"), expected)
    zoomed = [cv2.resize(image[2:26, 2:26], (28, 28), interpolation=cv2.INTER_LINEAR) for image in square]
    views = [image for view in (square, zoomed) for image in (view, [i[:, ::-1].copy() for i in view])]
    for tta, chosen in (("scale", views[::2]), ("all", views)):
        expected = torch.stack([run_model.predict(view) for view in chosen]).mean(0)
        torch.testing.assert_close(run_model.predict(square, tta=tta), expected, atol=2e-3, rtol=0)  # OpenCV rounds otherwise
    assert not torch.allclose(run_model.predict(pixels), run_model.predict(mirrored))
    with pytest.raises(regulo.core.errors.InputError, match="there are no views True"):
        run_model.predict(square, tta=True)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--top", "11"], "--top: it is 11 — the run has 10 classes: 1 to 10"),
        (["--top", "0"], "--top: it is 0"),
        (["--tta", "mirror"], "--tta: there is no tta 'mirror'"),
        (["--top", "x"], "invalid int value: 'x'"),
        (["--output", "x.xlsx"], "--output: x.xlsx has an unknown ending — valid: .csv, .jsonl, .parquet"),
        (["--output", "x.csvv"], "did you mean .csv?"),
        (["--output", "nowhere/x.csv"], "--output: there is no folder nowhere"),
        (["--output", "there.csv"], "--output: there.csv exists"),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    words: list[str],
    text: str,
    finished_run: FinishedRun,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.csv").write_text("mine")
    assert main(["predict", str(finished_run.folder), str(photos / "000.png"), *words]) == 2
    assert text in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["there.csv"]
    assert Path("there.csv").read_text() == "mine"


def test_parquet_without_its_package_is_refused(
    finished_run: FinishedRun, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prediction_files.importlib.util, "find_spec", lambda name: None)
    assert main(["predict", str(finished_run.folder), str(photos), "--output", str(tmp_path / "x.parquet")]) == 2
    assert "--output: Parquet needs the package pyarrow — pip install 'regulo[tables]'" in capsys.readouterr().err


@pytest.mark.parametrize("ending", READ)
def test_an_interrupted_command_leaves_no_file(
    ending: str, finished_run: FinishedRun, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("regulo.evaluation.predict.prediction_rows", interrupt)
    assert main(["predict", str(finished_run.folder), str(photos), "--output", str(tmp_path / f"x{ending}")]) == 130
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_and_leaves_no_file(
    finished_run: FinishedRun, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("regulo.core.files.sync", fail)
    assert main(["predict", str(finished_run.folder), str(photos / "000.png"), "--output", str(tmp_path / "x.csv")]) == 1
    assert f"cannot write {tmp_path / 'x.csv'}: No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


CELLS = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\tx", "\rx", "a,b", 'a"b', "plain"]


def test_no_cell_of_a_csv_file_is_a_formula(tmp_path: Path) -> None:
    with prediction_files.write_predictions(tmp_path / "x.csv", ["path", "class", "probability"]) as write:
        write([[cell, cell, 0.5] for cell in CELLS])
    rows = read_csv(tmp_path / "x.csv")
    assert [row["class"] for row in rows] == [f"'{cell}" for cell in CELLS[:6]] + CELLS[6:]
    assert [row["path"] for row in rows] == [f"./{cell}" for cell in CELLS[:6]] + CELLS[6:], "a path can still be opened"


@pytest.mark.parametrize("ending", READ)
def test_file_names_that_are_not_utf8_can_be_written(ending: str, tmp_path: Path) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    with prediction_files.write_predictions(tmp_path / f"x{ending}", ["path", "class", "probability"]) as write:
        write([[name, "a", 0.5]])
    (row,) = READ[ending](tmp_path / f"x{ending}")
    assert row["path"] in (name, "caf\\udce9.png"), "JSON keeps the bytes"


# ---- from Python


def test_python_takes_paths_arrays_and_pil_images_alike(run_model: Any, photos: Path) -> None:
    files = sorted(photos.iterdir())[:3]
    expected = run_model.predict(files)
    assert torch.equal(run_model.predict(map(str, files)), expected)
    assert torch.equal(run_model.predict([np.asarray(Image.open(file)) for file in files]), expected)
    assert torch.equal(run_model.predict([Image.open(file) for file in files]), expected)
    assert torch.equal(run_model.logits(files).softmax(1), expected)
    assert run_model.classes == run_model.dataset_info.classes
    assert run_model.logits([]).shape == (0, 10)
    rgba = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    assert torch.equal(run_model.predict([rgba]), run_model.predict([np.full((40, 40), 255, "uint8")])), "transparent is white"


def test_embeddings_are_what_the_head_gets(run_model: Any, photos: Path) -> None:
    files = sorted(photos.iterdir())[:3]
    features = run_model.embed(files)
    logits = run_model.classifier.model.head(features) / run_model.temperature  # also with gradients, to train another head
    torch.testing.assert_close(logits, run_model.logits(files), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("wrong", ["photo.jpg", Path("photo.jpg"), Image.new("L", (8, 8))])
def test_one_image_that_is_no_list_is_refused(wrong: Any, run_model: Any) -> None:
    with pytest.raises(regulo.core.errors.InputError, match=r"images: this is one image, and a list is needed"):
        run_model.predict(wrong)


def test_a_pil_image_of_more_than_8_bits_is_refused_by_its_place(run_model: Any) -> None:
    deep = Image.fromarray(np.zeros((8, 8), "uint16"))
    with pytest.raises(regulo.core.errors.InputError, match=r"images\[1\]: the image has the mode I;16"):
        run_model.predict([Image.new("L", (8, 8)), deep])
