"""`regulo evaluate RUN --data FOLDER`: any labeled images, with classes matched by their names."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import regulo
from regulo.__main__ import main
from regulo.core.errors import InputError
from regulo.tracking import records
from regulo.tracking.run_dir import RunFolder
from tests.deployment.conftest import CLASSES, PhotoRun, write_photos


@pytest.fixture
def run_copy(photo_run: PhotoRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(photo_run.folder, tmp_path / "run"))


@pytest.fixture
def scores(capsys: pytest.CaptureFixture[str]) -> Any:
    """The scores that the command prints, without the name of the split."""

    def evaluate(*words: str) -> dict[str, float]:
        capsys.readouterr()
        assert main(["evaluate", *words]) == 0
        return {key.split("/", 1)[1]: value for key, value in json.loads(capsys.readouterr().out.splitlines()[-1]).items()}

    return evaluate


def test_the_test_folder_has_the_scores_of_the_test_split_to_the_last_digit(
    run_copy: Path, photo_run: PhotoRun, scores: Any
) -> None:
    expected = scores(str(run_copy), "test")
    test = photo_run.data / "test"
    assert scores(str(run_copy), "--data", str(test)) == expected
    (record,) = records.read_evaluations(RunFolder(run_copy))
    assert record.scores == {f"data/{key}": value for key, value in expected.items()}
    assert (record.data, record.images, record.notes) == (str(test), dict.fromkeys(CLASSES, 7), [])
    scores(str(run_copy), "--data", f"{test}/")
    assert len(records.read_evaluations(RunFolder(run_copy))) == 1, "the same images again replace the file"


def test_classes_are_matched_by_name_and_the_rest_is_reported(
    run_copy: Path, photo_run: PhotoRun, tmp_path: Path, scores: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(photo_run.data / "test" / "løv", other / "løv")
    write_photos(other, ["A,B", "zebra"], 2)
    capsys.readouterr()
    assert main(["evaluate", str(run_copy), "--data", str(other)]) == 0
    output = capsys.readouterr()
    assert "left out: 4 images of classes that the run does not have (A,B, zebra)" in output.err
    assert "no image of 2 of the 3 classes (=cmd, a,b)" in output.err
    (record,) = records.read_evaluations(RunFolder(run_copy))
    assert record.images == {"=cmd": 0, "a,b": 0, "løv": 7}
    files = sorted((other / "løv").iterdir())
    share = (regulo.load(run_copy).predict(files).argmax(1) == 2).float().mean().item()
    assert record.scores["data/acc"] == pytest.approx(share)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--data", "nowhere"], "--data: there is no nowhere"),
        (["--data", "file"], "--data: file is empty"),
        (["--data", "splits"], "has no image of a class of the run — name one split: splits/test or splits/val"),
        (["--data", "near"], "did you mean løv?"),
        (["--data", "far"], "the classes are =cmd, a,b, løv"),
        (["--data", "empty"], "--data: empty has no image of a class of the run"),
        (["--data", "torn"], "--data: cannot read torn/løv/x.png"),
        (["test", "--data", "near"], "--data: names other images than the run's — leave out the split and --data-root"),
    ],
)
def test_what_cannot_be_scored_is_refused_and_nothing_is_kept(
    words: list[str], text: str, run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    for folder in ("splits/test/løv", "splits/val/løv", "near/lov", "far/zebra", "empty/løv"):
        Path(folder).mkdir(parents=True)
    write_photos(Path("torn"), ["løv"], 3)
    Path("torn/løv/x.png").write_text("no image")
    assert main(["evaluate", str(run_copy), *words]) == 2
    assert text in capsys.readouterr().err
    assert not (run_copy / "evaluations").exists()


def test_a_table_is_scored_as_the_folder_with_its_images(run_copy: Path, tmp_path: Path, capsys: Any) -> None:
    folder = write_photos(tmp_path / "other", ["løv", "a,b"], 4, seed=5)
    rows = [f'"{name}/{file.name}","{name}"' for name in ("a,b", "løv") for file in sorted((folder / name).iterdir())]
    (folder / "labels.csv").write_text("\n".join(["path,label", *rows, rows[0]]))
    assert main(["evaluate", str(run_copy), "--data", str(folder)]) == 0
    expected = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert main(["evaluate", str(run_copy), "--data", str(folder / "labels.csv")]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out.splitlines()[-1]) == pytest.approx(expected)
    assert "rows that repeat another one, and are left out: 1" in output.err


def test_a_record_from_a_stranger_is_checked(run_copy: Path) -> None:
    (run_copy / "evaluations").mkdir()
    (run_copy / "evaluations" / "x.json").write_text('{"data": 3}')
    with pytest.raises(InputError, match=r"x\.json is not what Regulo writes: data"):
        records.read_evaluations(RunFolder(run_copy))
