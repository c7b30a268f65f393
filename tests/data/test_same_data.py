"""A run keeps which images it has seen: what is added, renamed or moved later changes neither its scores nor its training."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from regulo.__main__ import main
from regulo.analysis.shared_settings import same_data_arguments
from regulo.config import compose
from regulo.core.errors import InputError
from regulo.data.components.record import open_splits
from regulo.data.fashion_mnist_mini import FashionMnistMini
from regulo.data.image_folder import ImageFolder
from regulo.tracking.run_dir import RunFolder
from tests.conftest import rng

TINY = ["debug=fast", "trainer=cpu", "logger=csv", "callbacks=none", "model.depth=8", "model.width=4", "data.num_workers=0"]
PHOTOS = ["data=image_folder", "data.image_size=8", "data.batch_size=8", "regularizer=none"]


def add_noise(root: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        for c in "ab":
            (root / c).mkdir(parents=True, exist_ok=True)
            pixels = rng(seed + 1000 * (c == "b")).integers(0, 256, (8, 8, 3), dtype="uint8")
            Image.fromarray(pixels).save(root / c / name)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos`, and with `run`, which was trained on them."""
    folder = tmp_path_factory.mktemp("same_data")
    add_noise(folder / "photos", *(f"{i:02}.png" for i in range(30)))
    code, _, err = regulo("train", *TINY, *PHOTOS, f"data.root={folder / 'photos'}", f"run_dir={folder / 'run'}")
    assert code == 0, err
    return folder


@pytest.fixture
def photos(example: Path, tmp_path: Path) -> Path:
    return shutil.copytree(example / "photos", tmp_path / "photos")


@pytest.fixture
def folder(example: Path, photos: Path, tmp_path: Path) -> Path:
    """A run that was trained on the photos."""
    copy = shutil.copytree(example / "run", tmp_path / "run")
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace(str(example / "photos"), str(photos)))
    return copy


def regulo(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    return code, out.getvalue(), err.getvalue()


def scores(*arguments: str) -> dict[str, float]:
    code, out, err = regulo("evaluate", *arguments)
    assert code == 0, err
    result: dict[str, float] = json.loads(out.splitlines()[-1])
    return result


def test_added_images_change_no_score(photos: Path, folder: Path) -> None:
    before = scores(str(folder))
    add_noise(photos, *(f"{i:02}_new.png" for i in range(7)))
    assert scores(str(folder)) == before
    _, _, err = regulo("evaluate", str(folder), "test")
    assert "not used: 14 images that came after the run began" in err


def test_missing_and_changed_images_are_refused_by_name(photos: Path, folder: Path) -> None:
    (photos / "a" / "03.png").rename(photos / "a" / "three.png")
    code, _, err = regulo("evaluate", str(folder))
    assert code == 2
    assert "1 of the 60 files of this run are not in" in err
    assert "a/03.png" in err
    (photos / "a" / "three.png").rename(photos / "a" / "03.png")
    Image.fromarray(np.zeros((40, 40, 3), "uint8")).save(photos / "a" / "03.png")
    code, _, err = regulo("evaluate", str(folder))
    assert code == 2
    assert "are not those that this run was trained and evaluated on" in err


def test_an_image_that_is_damaged_later_is_named(photos: Path, folder: Path) -> None:
    record = json.loads((folder / "data.json").read_text())
    file = photos / record["files"]["train"]["a"][0]
    file.write_bytes(bytes(file.stat().st_size))
    code, _, err = regulo("evaluate", str(folder))
    assert code == 2
    assert file.name in err


def test_moved_images_are_found_where_they_are_now(photos: Path, folder: Path) -> None:
    before = scores(str(folder))
    moved = photos.rename(photos.with_name("moved photos"))
    assert regulo("evaluate", str(folder))[0] == 2
    assert scores(str(folder), f"data.root={moved}") == before
    assert scores(str(folder), "test", f"--data-root={moved}")["test/acc"] == before["test/acc"]
    assert regulo("report", str(folder), f"data.root={moved}")[0] == 0


def test_a_run_goes_on_with_the_images_with_which_it_began(photos: Path, run: Any, tmp_path: Path) -> None:
    settings = [*TINY, *PHOTOS, f"data.root={photos}", "trainer.max_epochs=2"]
    folder, whole = run(*settings, name="whole")
    half, _ = run(*settings, name="half")
    result = json.loads((half / "result.json").read_text())
    (half / "result.json").write_text(json.dumps(result | {"status": "interrupted"}))
    add_noise(photos, *(f"{i:02}_new.png" for i in range(7)))
    code, out, err = regulo("train", "--resume", str(half))
    assert code == 0, err
    assert "not used: 14 images that came after the run began" in out
    again = json.loads((half / "result.json").read_text())
    assert {k: v for k, v in again.items() if "/" in k} == {k: v for k, v in whole.items() if "/" in k}
    first, second = (json.loads((f / "data.json").read_text()) for f in (folder, half))
    assert {**second, "notes": 0} == {**first, "notes": 0}


def test_a_new_run_may_train_on_the_images_of_an_old_one(photos: Path, folder: Path, run: Any, tmp_path: Path) -> None:
    first = json.loads((folder / "result.json").read_text())
    add_noise(photos, *(f"{i:02}_new.png" for i in range(7)))
    _, grown = run(*TINY, *PHOTOS, f"data.root={photos}", name="grown")
    second = tmp_path / "second"
    code, _, err = regulo("train", *TINY, *PHOTOS, f"data.root={photos}", f"run_dir={second}", "--same-data", str(folder))
    assert code == 0, err
    result = json.loads((second / "result.json").read_text())
    assert result["test/loss"] == first["test/loss"]
    assert grown["test/loss"] != first["test/loss"]
    assert json.loads((second / "data.json").read_text())["digests"] == json.loads((folder / "data.json").read_text())["digests"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--same-data"], "--same-data: needs the folder of a run"),
        (["--same-data", "nowhere"], "there is no folder and no run below runs/ with the name 'nowhere'"),
        (["--same-data=nowhere"], "there is no folder and no run below runs/ with the name 'nowhere'"),
    ],
)
def test_a_folder_without_data_json_is_refused(arguments: list[str], message: str) -> None:
    code, _, err = regulo("train", *arguments)
    assert code == 2
    assert message in err


def test_data_of_another_set_are_refused(folder: Path, tmp_path: Path) -> None:
    code, _, err = regulo("train", *TINY, f"run_dir={tmp_path / 'other'}", "--same-data", str(folder))
    assert code == 2
    assert "the data have the classes" in err
    assert not (tmp_path / "other").exists()


def test_all_runs_of_a_study_have_the_same_images(photos: Path, tmp_path: Path) -> None:
    config = ImageFolder(root=str(photos), image_size=8)
    study = tmp_path / "study"
    first = same_data_arguments(config, study)
    add_noise(photos, "new.png")
    assert same_data_arguments(config, study) == first
    _, record = open_splits(config, RunFolder(Path(first[1])))
    assert [sum(record.images[part]) for part in ("train", "val", "test")] == [42, 10, 8]
    other = same_data_arguments(config.model_copy(update={"split_seed": 1}), study)
    assert other != first


def test_a_run_of_version_0_1_is_not_scored_on_other_held_out_files(photos: Path, folder: Path) -> None:
    (folder / "data.json").unlink()
    code, _, err = regulo("evaluate", str(folder))
    assert code == 2
    assert "version 0.1 made it" in err
    for part in ("train", "val", "test"):
        shutil.copytree(photos, photos.with_name("parts") / part)
    assert regulo("evaluate", str(folder), f"data.root={photos.with_name('parts')}")[0] == 0


def test_images_in_memory_are_compared_by_their_pixels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = FashionMnistMini()
    splits, record = open_splits(config)
    folder = RunFolder(tmp_path)
    folder.save_json("data.json", record.model_dump())
    assert open_splits(config, folder)[1] == record
    images = np.array(splits.val.images)
    images[7, 3, 3] ^= 1
    changed = type(splits)(splits.train, type(splits.val)(images, splits.val.labels), splits.test, splits.dataset_info)
    monkeypatch.setattr(FashionMnistMini, "splits", lambda self: changed)
    with pytest.raises(InputError, match=r"the images of val are not those .*\(val: 1,000 then, 1,000 now\)"):
        open_splits(config, folder)


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"train": {"a": ["../../secret.png"]}, "val": {}, "test": {}}},
        {"files": {"train": {"a": ["/etc/passwd"]}, "val": {}, "test": {}}},
        {"digests": {"train": "x", "val": "y", "test": "z"}},
        {"images": {"train": [1]}},
        {"classes": ["a"]},
        {"classes": ["b", "a"]},
        {"files": {"train": {}, "val": {}, "test": {}}},
        {"files": {part: {"a": ["a/00.png"], "b": ["b/00.png"]} for part in ("train", "val", "test")}},
        {"images": {"train": [1, 1], "val": [1, 1], "test": [1, 1]}},
        {"pixel_range": [5, 1]},
        {"pixel_range": [0, 10**400]},
    ],
)
def test_a_record_from_a_stranger_is_checked(change: dict[str, Any], photos: Path, tmp_path: Path) -> None:
    _, record = open_splits(ImageFolder(root=str(photos), image_size=8))
    folder = RunFolder(tmp_path)
    folder.save_json("data.json", record.model_dump() | change)
    with pytest.raises(InputError, match=r"data\.json is not what Regulo writes"):
        open_splits(ImageFolder(root=str(photos), image_size=8), folder)


def test_an_empty_record_is_not_a_missing_one(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text("{}")
    with pytest.raises(InputError, match=r"data\.json is not what Regulo writes"):
        open_splits(ImageFolder(root=str(photos), image_size=8), RunFolder(tmp_path))


def test_the_record_of_a_new_run_names_the_folder_that_it_reads(photos: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save_json("data.json", open_splits(ImageFolder(root=str(photos), image_size=8))[1].model_dump())
    moved = photos.rename(photos.with_name("moved"))
    assert open_splits(ImageFolder(root=str(moved), image_size=8), folder)[1].source.endswith("/moved")


def test_files_are_not_asked_of_a_run_without_files(photos: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save_json("data.json", open_splits(FashionMnistMini())[1].model_dump())
    with pytest.raises(InputError, match="the images of the run are no files: fashion_mnist_mini"):
        open_splits(ImageFolder(root=str(photos), image_size=8), folder)


def test_another_scale_than_that_of_the_run_is_refused(tmp_path: Path) -> None:
    for c in "ab":
        (tmp_path / "deep" / c).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(rng(i).integers(500, 900, (12, 12)).astype("uint16")).save(tmp_path / "deep" / c / f"{i}.png")
    config = ImageFolder(root=str(tmp_path / "deep"), image_size=8)
    folder = RunFolder(tmp_path)
    folder.save_json("data.json", open_splits(config)[1].model_dump())
    with pytest.raises(InputError, match=r"data\.pixel_range: it is \[0, 9\], and the run has \[5"):
        open_splits(config.model_copy(update={"pixel_range": (0, 9)}), folder)


def test_deep_pixels_are_scored_with_the_scale_of_training(tmp_path: Path, run: Any) -> None:
    for c, bright in (("a", 520), ("b", 600)):
        (tmp_path / "deep" / c).mkdir(parents=True)
        for i in range(12):
            pixels = rng(i).integers(500, bright, (12, 12)).astype("uint16")
            Image.fromarray(pixels).save(tmp_path / "deep" / c / f"{i}.png")
    folder, result = run(*TINY, *PHOTOS, f"data.root={tmp_path / 'deep'}")
    record = json.loads((folder / "data.json").read_text())
    assert record["pixel_range"][0] >= 500
    assert scores(str(folder))["test/loss"] == result["test/loss"]
    code, out, err = regulo("predict", str(folder), str(tmp_path / "deep"))
    assert code == 0, err
    assert len(out.splitlines()) == 25


def test_a_range_of_the_command_line_is_one_again_in_the_run(tmp_path: Path) -> None:
    words = ["data=image_folder", f"data.root={tmp_path}", "data.pixel_range=[-1000,1000]"]
    config = compose.load_config(words)
    assert config.data.pixel_range == (-1000, 1000)  # type: ignore[attr-defined]
    RunFolder(tmp_path).save_config(config.as_dict())
    saved = yaml.safe_load((tmp_path / "config.yaml").read_text())["data"]["pixel_range"]
    assert ImageFolder(root=str(tmp_path), pixel_range=saved).pixel_range == (-1000, 1000)
