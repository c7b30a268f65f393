"""A folder with imbalanced classes: what the start of a run says, its scores by class, and the choice of the monitor."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from regulo.__main__ import main
from regulo.tracking.class_scores import read_class_scores
from regulo.tracking.run_dir import RunFolder
from tests.conftest import FAST, rng

COUNTS = {"ant": 44, "bee": 4}


def save_images(root: Path, counts: dict[str, int]) -> None:
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng(i).integers(0, 256, (8, 8, 3), dtype="uint8")).save(root / label / f"{i}.png")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two classes, 44 : 4 in train."""
    root = tmp_path_factory.mktemp("uneven")
    for split, counts in (("train", COUNTS), ("val", {"ant": 6, "bee": 2}), ("test", {"ant": 5, "bee": 1})):
        save_images(root / split, counts)
    return root


class UnevenRun(NamedTuple):
    folder: Path
    result: dict[str, Any]
    output: str


def words(root: Path) -> list[str]:
    return ["data=image_folder", f"data.root={root}", "data.image_size=8", "data.batch_size=16", "trainer=cpu"]


def train(root: Path, folder: Path, capsys: pytest.CaptureFixture[str], *overrides: str, expect: int = 0) -> UnevenRun:
    assert main(["train", *FAST, *words(root), f"run_dir={folder}", *overrides]) == expect
    captured = capsys.readouterr()
    result = json.loads((folder / "result.json").read_text()) if expect == 0 else {}
    return UnevenRun(folder, result, captured.out + captured.err)


def notes(folder: Path) -> list[str]:
    return [note for note in json.loads((folder / "data.json").read_text())["notes"] if note.startswith("imbalanced")]


SIZES = "imbalanced classes: of the training images, ant has 44 and bee has 4 (11 : 1)"


def test_a_start_says_so_in_one_line_with_the_remedy_and_keeps_it(
    uneven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(uneven, tmp_path / "plain", capsys)
    techniques = " or ".join(f"+regularizer={name}" for name in ("balanced_sampling", "class_weights", "logit_adjustment"))
    assert notes(run.folder) == [f"{SIZES}; try {techniques} with monitor=val/balanced_acc"]
    assert run.output.count(notes(run.folder)[0]) == 1
    again = train(uneven, tmp_path / "again", capsys, "--same-data", str(run.folder), "+regularizer=class_weights")
    assert notes(again.folder) == [f"{SIZES}; try monitor=val/balanced_acc"], "the advice of the other run is left out"
    assert {key for key in run.result if key.startswith("test/")} == {
        f"test/{name}" for name in ("acc", "loss", "ece", "brier", "balanced_acc", "macro_f1", "auroc")
    }
    recalls = [row["recall"] for row in read_class_scores(RunFolder(run.folder)) if row["split"] == "test"]
    assert run.result["test/balanced_acc"] == pytest.approx(sum(map(float, recalls)) / 2)
    assert main(["report", str(run.folder)]) == 0
    page = (run.folder / "report.html").read_text()
    assert "Each class on the test images" in page
    assert page.count(">bee</") >= 2


def test_the_best_epoch_is_that_of_the_highest_monitor(uneven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["monitor=val/balanced_acc", "+regularizer=balanced_sampling", "trainer.max_epochs=4", "optim.lr=0.3"]
    run = train(uneven, tmp_path / "run", capsys, *overrides)
    assert notes(run.folder) == [SIZES], "nothing is left to advise"
    header, *rows = [line.split(",") for line in (run.folder / "metrics.csv").read_text().splitlines()]
    column, epoch = header.index("val/balanced_acc"), header.index("epoch")
    scores = {int(row[epoch]): float(row[column]) for row in rows if row[column]}
    assert len(scores) > 1
    assert run.result["best_epoch"] == max(scores, key=lambda e: (scores[e], -e)) + 1


def test_a_monitor_that_says_nothing_about_two_classes_is_refused(
    uneven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(uneven, tmp_path / "run", capsys, "monitor=val/top5_acc", expect=2)
    assert "monitor: val/top5_acc says nothing about 2 classes: it needs 6 or more — monitor=val/acc" in run.output
    assert not run.folder.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("val/balanced_ac", "is no metric of the validation, on the command line — did you mean val/balanced_acc?"),
        ("val/auroc", "is computed after the training only"),
        ("test/acc", "is no metric of the validation"),
    ],
)
def test_another_monitor_is_refused_with_the_nearest(value: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", f"monitor={value}"]) == 2
    assert message in capsys.readouterr().err


def test_classes_that_are_not_far_apart_are_not_mentioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val", "test"):
        save_images(tmp_path / "data" / split, {"ant": 40, "bee": 4})
    assert notes(train(tmp_path / "data", tmp_path / "run", capsys).folder) == []
