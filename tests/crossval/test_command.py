"""A cross-validation is run, continued, changed, compared. Where a test is about its course, its runs are fake."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regulo.__main__ import main
from regulo.analysis.crossval import predictions
from regulo.analysis.crossval.command import crossval
from regulo.analysis.crossval.predictions import Predictions, read_predictions
from regulo.analysis.launchers import local
from regulo.core.errors import InputError
from regulo.tracking import records
from regulo.tracking.run_dir import RunFolder
from tests.conftest import rng
from tests.fake_runs import fake_train, queue_in_process

TINY = ["debug=fast", "model.width=4", "data.num_workers=0", "data.clean_subset=50", "regularizer=none", "trainer=cpu"]
FIXED = ["trainer.precision=32-true", "trainer.memory_format=contiguous"]
ROOT = Path("runs/crossval/run")


@pytest.fixture
def job_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Jobs run in this process, in an empty folder. Returns the list of their names, which grows."""
    monkeypatch.chdir(tmp_path)
    names: list[str] = []
    monkeypatch.setattr(local, "run_queue", queue_in_process(names))
    return names


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command line for photos of two classes, which lie in `photos/`."""
    for k, name in enumerate("ab"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng(100 * k + i).integers(0, 256, (8, 8, 3), dtype="uint8")
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return [*TINY, "data=image_folder", f"data.root={tmp_path / 'photos'}", "data.image_size=8", "folds=3"]


def fake_predictions(folder: RunFolder) -> None:
    """Random probabilities of the test images; every third label is improbable."""
    record = records.read_data_record(folder)
    assert record
    assert record.files
    assert record.fold
    images = [path for name in record.classes for path in record.files["test"][name]]
    labels = np.repeat([0, 1], record.images["test"])
    p = np.where(np.arange(len(labels)) % 3 == 0, 0.1, 0.8) + 0.1 * rng(len(folder.path.name)).random(len(labels))
    probabilities = np.stack([np.where(labels == 0, p, 1 - p), np.where(labels == 1, p, 1 - p)], 1)
    result = Predictions(tuple(record.classes), tuple(images), labels, np.full(len(labels), record.fold[0]), probabilities)
    (folder.path / predictions.FILE).write_text(result.to_csv())


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regulo.training.train.train", fake_train)
    monkeypatch.setattr("regulo.analysis.shared_settings.pinned_overrides", lambda config, root: [])
    monkeypatch.setattr(predictions, "save_test_predictions", fake_predictions)
    monkeypatch.setattr("regulo.analysis.crossval.plans.dry_run", lambda configs, root: None)


def read_record() -> dict[str, Any]:
    return json.loads((ROOT / "crossval.json").read_text())


def read_rows(file: str = "oof.csv") -> list[dict[str, str]]:
    return list(csv.DictReader((ROOT / file).read_text().splitlines()))


@pytest.mark.usefixtures("fake")
def test_every_image_is_tested_once_and_nothing_is_repeated(
    job_names: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert crossval(words) == 0
    assert job_names == ["fold-0", "fold-1", "fold-2"]
    rows = read_rows()
    assert sorted(row["image"] for row in rows) == sorted(f"{c}/{i}.png" for c in "ab" for i in range(12))
    assert all(row["image"].startswith(row["label"]) for row in rows)
    assert {row["fold"] for row in rows} == {"0", "1", "2"}
    record = read_record()
    (plan,) = record["plans"]
    results = [json.loads((ROOT / f"fold-{k}" / "result.json").read_text()) for k in range(3)]
    assert plan["values"]["test/acc"] == [result["test/acc"] for result in results]
    assert plan["mean"]["test/acc"]["mean"] == pytest.approx(np.mean(plan["values"]["test/acc"]))
    assert [suspect["self_confidence"] for suspect in record["suspects"]] == sorted(
        s["self_confidence"] for s in record["suspects"]
    )
    assert {s["image"] for s in record["suspects"]} == {r["image"] for r in rows if r["label"] != r["prediction"]}
    page = (ROOT / "report.html").read_text()
    assert record["suspects"][0]["image"] in page
    assert page.count("data:image/png") == len(record["suspects"])
    assert "95% interval" in capsys.readouterr().out

    assert crossval([*words, "at_once=2"]) == 0
    assert len(job_names) == 3
    assert read_rows() == rows
    assert crossval([*words, "seeds=2", "against", "optim.lr=0.5"]) == 0
    assert job_names[3:] == [
        *("against-fold-0", "against-fold-1", "against-fold-2"),
        *("fold-0-s1", "against-fold-0-s1", "fold-1-s1", "against-fold-1-s1", "fold-2-s1", "against-fold-2-s1"),
    ]
    record = read_record()
    plan, against = record["plans"]
    differences = np.subtract(plan["values"]["test/loss"], against["values"]["test/loss"])
    assert record["difference"]["test/loss"]["mean"] == pytest.approx(differences.mean())
    assert len(read_rows("against-oof.csv")) == 24
    assert "plan − against, test accuracy, points:" in capsys.readouterr().out
    assert "Plan minus the plan against it" in (ROOT / "report.html").read_text()


@pytest.mark.usefixtures("fake")
def test_other_settings_are_refused_and_a_new_image_changes_no_fold(
    job_names: list[str], words: list[str], tmp_path: Path
) -> None:
    assert crossval(words) == 0
    for change, key in (("optim.lr=0.7", "optim.lr"), ("folds=4", "data.folds"), ("data.image_size=16", "data.image_size")):
        with pytest.raises(InputError, match=rf"{key}: the runs in .* have .* — name=another"):
            crossval([*words, change])
    before = read_rows()
    (tmp_path / "photos/a/new.png").write_bytes((tmp_path / "photos/a/0.png").read_bytes())
    (ROOT / "fold-1" / "result.json").unlink()
    assert crossval(words) == 0
    assert job_names == ["fold-0", "fold-1", "fold-2", "fold-1"]
    assert [row["image"] for row in read_rows()] == [row["image"] for row in before]
    assert crossval([*words, "name=other"]) == 0
    assert len(job_names) == 7
    assert len(list(csv.DictReader(Path("runs/crossval/other/oof.csv").read_text().splitlines()))) == 25


@pytest.mark.usefixtures("fake")
def test_a_fold_that_fails_is_left_out_and_tried_again(
    job_names: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(folder: RunFolder) -> None:
        if folder.path.name == "fold-1":
            raise OSError("No space left on device")
        fake_predictions(folder)

    monkeypatch.setattr(predictions, "save_test_predictions", fail)
    assert crossval(words) == 1
    record = read_record()
    assert [run["status"] for run in record["plans"][0]["runs"]] == ["done", "failed", "done"]
    assert record["plans"][0]["values"]["test/acc"][1] is None
    assert record["plans"][0]["mean"]["test/acc"]["n"] == 2
    assert "failed: fold-1: No space left on device" in capsys.readouterr().out
    assert "fold-1: No space left on device" in (ROOT / "report.html").read_text()
    monkeypatch.setattr(predictions, "save_test_predictions", fake_predictions)
    assert crossval(words) == 0
    assert len(read_rows()) == 24


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["folds=1"], ["folds: '1' should be a number from 2 to 100"]),
        (["seeds=x"], ["seeds: 'x' should be a number from 1 to 100"]),
        (["seed=3", "data.folds=4", "run_dir=x"], ["seeds=3", "data.folds=4: belongs to the cross-validation", "name=…"]),
        (["against"], ["against: nothing comes after it"]),
        (["against", "seed=1", "against", "optim.lr=1"], ["there are two of these words", "seeds=3"]),
        (["against", "folds=5"], ["against: nothing comes after it"]),
        (["against", "optim.lr=0.1", "optim.lr=0.1"], ["the second plan is the very same as the first one"]),
        (["against", "name=b"], ["both plans have their runs in one folder"]),
        (["optim.lrr=1"], ["optim.lrr: unknown key", "did you mean"]),
        (["launcher.x=2"], ["no launcher is named"]),
    ],
)
def test_mistakes_are_refused(job_names: list[str], arguments: list[str], messages: list[str]) -> None:
    with pytest.raises(InputError) as refusal:
        crossval(["optim.lr=0.1", *arguments] if "optim.lr=0.1" in arguments else arguments)
    for message in messages:
        assert message in str(refusal.value)
    assert job_names == []


@pytest.mark.usefixtures("fake")
def test_what_was_refused_binds_no_later_command(job_names: list[str], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data.root: there is no folder"):
        crossval([*words, "data.root=photoss"])
    assert crossval(words) == 0


@pytest.mark.usefixtures("fake")
def test_images_of_a_refused_start_bind_no_later_one(job_names: list[str], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the plans would be tested on other images"):
        crossval([*words, "against", "data.split_seed=1"])
    (tmp_path / "photos/a/new.png").write_bytes((tmp_path / "photos/a/0.png").read_bytes())
    assert crossval(words) == 0
    assert len(read_rows()) == 25


@pytest.mark.usefixtures("fake")
def test_data_that_have_changed_are_said(
    job_names: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert crossval(words) == 0
    assert read_record()["notes"] == []
    (tmp_path / "photos/a/0.png").rename(tmp_path / "photos/b/new.png")
    capsys.readouterr()
    assert crossval(words) == 0
    note = "the data have changed since this cross-validation began: 1 image is gone, 1 image is new"
    assert note in capsys.readouterr().out
    assert read_record()["notes"][0].startswith(note)
    assert note[4:] in (ROOT / "report.html").read_text()


def test_plans_that_are_tested_on_other_images_are_refused(job_names: list[str], words: list[str]) -> None:
    with pytest.raises(InputError, match="the plans would be tested on other images: fold 0"):
        crossval([*words, "against", "data.split_seed=1"])
    assert job_names == []


def test_a_technique_that_does_not_fit_is_refused_before_a_run(job_names: list[str], words: list[str]) -> None:
    with pytest.raises(InputError, match=r"against: regularizer.dropout.attention"):
        crossval([*words, *FIXED, "against", "regularizer=[dropout]", "regularizer.dropout.attention=0.1"])
    assert job_names == []


def test_predictions_that_are_no_longer_whole_are_named(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("image,label,prediction,fold,p_a,p_b\nx,a,a,0,0.5\n")
    with pytest.raises(InputError, match=r"p.csv is not what Regulo writes"):
        read_predictions(tmp_path / "p.csv")


@pytest.mark.parametrize("data", ["files", pytest.param("arrays", marks=pytest.mark.long)])
def test_real_runs_predict_their_fold(job_names: list[str], words: list[str], data: str) -> None:
    """Two folds, trained for a few steps; each prediction is that of the run whose fold has the image."""
    arguments = [*words[:-1], *FIXED] if data == "files" else [*TINY, *FIXED]
    assert main(["crossval", *arguments, "folds=2"]) == 0
    rows = read_rows()
    assert len(rows) == (24 if data == "files" else 6000)
    for fold in range(2):
        own = [row for row in rows if row["fold"] == str(fold)]
        assert len(own) == len(rows) // 2
        assert main(["evaluate", str(ROOT / f"fold-{fold}"), "test"]) == 0
        if data == "files":  # `debug=fast` scores all of the few images
            acc = json.loads((ROOT / f"fold-{fold}" / "result.json").read_text())["test/acc"]
            assert np.mean([row["label"] == row["prediction"] for row in own]) == pytest.approx(acc)
    assert "Labels that may be wrong" in (ROOT / "report.html").read_text()
