"""Folds and groups: every image is tested once, no group is in two splits, the classes keep their shares."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from regulo.core.errors import InputError
from regulo.core.types import DatasetInfo, Split
from regulo.data.base import DatasetConfig, Splits
from regulo.data.components.folds import assign_folds, check_pool
from regulo.data.components.groups import group_split
from regulo.data.components.record import open_splits
from regulo.data.image_folder import ImageFolder
from regulo.tracking.run_dir import RunFolder
from tests.conftest import rng

IMAGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4)), min_size=1, max_size=150)
"""(group, class) of each image"""
FEW = settings(max_examples=80, deadline=None)


# ---- assign_folds


@FEW
@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=100), folds=st.integers(2, 7), seed=st.integers(0, 3))
def test_each_class_is_cut_evenly_whatever_the_order(labels: list[int], folds: int, seed: int) -> None:
    keys = [f"{i}.jpg" for i in range(len(labels))]
    result = assign_folds(keys, np.array(labels), folds, seed)
    for label in set(labels):
        counts = np.bincount(result[np.array(labels) == label], minlength=folds)
        assert counts.max() - counts.min() <= 1
    order = rng(seed).permutation(len(labels))
    assert assign_folds([keys[i] for i in order], np.array(labels)[order], folds, seed).tolist() == result[order].tolist()


def test_many_small_classes_do_not_fill_the_first_folds() -> None:
    labels = np.repeat(np.arange(50), 7)
    sizes = np.bincount(assign_folds([str(i) for i in range(350)], labels, 5, 0))
    assert sizes.tolist() == [70] * 5


def test_a_new_image_moves_few_others_and_copies_stay_together() -> None:
    keys = [f"{i}.jpg" for i in range(1000)]
    before = assign_folds(keys, np.zeros(1000, int), 5, 0)
    after = assign_folds([*keys, "new.jpg"], np.zeros(1001, int), 5, 0)[:1000]
    assert 0 < (before == after).mean() < 1.01
    assert (before != after).sum() <= 5
    assert len(set(assign_folds([*keys, *["copy.jpg"] * 30], np.zeros(1030, int), 5, 0)[1000:])) == 1


# ---- groups


@FEW
@given(images=IMAGES, fraction=st.sampled_from([0.1, 0.15, 0.3]), salt=st.sampled_from("abc"))
def test_no_group_is_in_two_parts_and_no_class_loses_all_its_groups(
    images: list[tuple[int, int]], fraction: float, salt: str
) -> None:
    groups, labels = [f"patient {g}" for g, _ in images], np.array([c for _, c in images])
    rest, subset = group_split(groups, labels, fraction, salt)
    assert sorted([*rest, *subset]) == list(range(len(images)))
    assert not {groups[i] for i in rest} & {groups[i] for i in subset}
    assert set(labels[rest]) == set(labels)
    order = rng(0).permutation(len(images))
    other_subset = group_split([groups[i] for i in order], labels[order], fraction, salt)[1]
    assert sorted(order[other_subset]) == subset.tolist()


@FEW
@given(images=IMAGES, fraction=st.sampled_from([0.1, 0.15, 0.3]))
def test_shares_are_off_by_no_more_than_a_group_if_each_group_has_one_class(
    images: list[tuple[int, int]], fraction: float
) -> None:
    groups, labels = [f"{c} {g}" for g, c in images], np.array([c for _, c in images])
    _, subset = group_split(groups, labels, fraction, "")
    for label in set(labels.tolist()):
        sizes = np.unique([g for g, c in zip(groups, labels, strict=True) if c == label], return_counts=True)[1]
        n = int((labels[subset] == label).sum())
        assert abs(n - fraction * sizes.sum()) <= sizes.max()
        assert (n > 0) == (len(sizes) > 1)


@FEW
@given(images=IMAGES, folds=st.integers(2, 5))
def test_a_group_is_in_one_fold(images: list[tuple[int, int]], folds: int) -> None:
    groups, labels = [str(g) for g, _ in images], np.array([c for _, c in images])
    result = assign_folds(groups, labels, folds, 0, groups)
    assert len({(g, f) for g, f in zip(groups, result.tolist(), strict=True)}) == len(set(groups))
    assert set(result) <= set(range(folds))


def test_groups_are_shared_evenly_and_a_new_group_moves_few() -> None:
    groups = [f"p{i // 10}" for i in range(2000)]
    labels = np.array([i // 10 % 3 for i in range(2000)])
    result = assign_folds(groups, labels, 5, 0, groups)
    for label in range(3):
        counts = np.bincount(result[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 20
    more = assign_folds([*groups, *["new"] * 10], np.array([*labels, *[0] * 10]), 5, 0, [*groups, *["new"] * 10])[:2000]
    assert (more != result).sum() <= 100  # ten of two hundred groups


# ---- data sets


class Noise(DatasetConfig):
    def splits(self) -> Splits:
        images, labels = rng(1).integers(0, 256, (90, 8, 8, 1), dtype="uint8"), np.arange(90) % 3
        parts = [Split(images[a:b], labels[a:b]) for a, b in ((0, 48), (48, 60), (60, 90))]
        return Splits(*parts, DatasetInfo(1, 8, 8, ("a", "b", "c"), (0.5,), (0.3,)))


def test_the_folds_of_arrays_cover_training_and_validation_and_not_the_test_set(tmp_path: Path) -> None:
    pool = {image.tobytes() for part in (Noise().splits().train, Noise().splits().val) for image in part.images[:]}
    tested: list[bytes] = []
    for fold in range(4):
        splits, record = open_splits(Noise(folds=4, fold=fold))
        parts = [[image.tobytes() for image in part.images[:]] for _, part in splits.items()]
        assert not set(parts[0]) & set(parts[1])
        assert not set(parts[2]) & {*parts[0], *parts[1]}
        assert {image for part in parts for image in part} == pool
        assert [len(part) for part in parts] == [36, 9, 15]
        assert record.fold == [fold, 4]
        assert record.notes == [
            f"the test split is fold {fold} of 4, counted from 0: 15 of 60 images; the test set of the data is not used"
        ]
        pixels = splits.train.images[:] / 255
        assert splits.dataset_info.mean == pytest.approx([pixels.mean()], abs=1e-5)
        tested += parts[2]
    assert sorted(tested) == sorted(pool)


def test_a_run_is_not_confused_with_one_of_another_fold(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(open_splits(Noise(folds=4, fold=1))[1].model_dump_json())
    assert open_splits(Noise(folds=4, fold=1), RunFolder(tmp_path))[1].fold == [1, 4]
    with pytest.raises(InputError, match=r"data.fold: the test split is fold 2 of 4, and that of the run is fold 1 of 4"):
        open_splits(Noise(folds=4, fold=2), RunFolder(tmp_path))
    with pytest.raises(InputError, match=r"the test split is no fold"):
        open_splits(Noise(), RunFolder(tmp_path))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"folds": 5}, "folds and fold belong together"),
        ({"fold": 0}, "folds and fold belong together"),
        ({"folds": 5, "fold": 5}, "fold 5 is none of the 5 folds, which are 0 to 4"),
    ],
)
def test_wrong_folds_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Noise(**fields)


def save_photos(root: Path, folder: str, *names: str) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        pixels = rng(abs(hash((folder, name))) % 2**32).integers(0, 256, (8, 8, 3), dtype="uint8")
        Image.fromarray(pixels).save(root / folder / name)


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """12 patients with 5 photos each; each patient has one class."""
    for p in range(12):
        save_photos(tmp_path, "ab"[p % 2], *(f"p{p:02}_{i}.png" for i in range(5)))
    return tmp_path


def groups_in(files: dict[str, list[str]]) -> set[str]:
    return {path.partition("/")[2].partition("_")[0] for paths in files.values() for path in paths}


def open_folder(root: Path, **fields: Any) -> Splits:
    return ImageFolder(root=str(root), image_size=8, **fields).splits()


@pytest.mark.parametrize("pattern", [r"(p\d+)_", r"(?P<group>p\d+)_(\d)", r"/([^/_]+)_"])
def test_patients_of_folders_stay_together(patients: Path, pattern: str) -> None:
    splits = open_folder(patients, group_pattern=pattern, val_fraction=0.2, test_fraction=0.2)
    assert splits.files
    train, val, test = (groups_in(splits.files[part]) for part in ("train", "val", "test"))
    assert len(train) + len(val) + len(test) == 12
    assert train | val | test == {f"p{i:02}" for i in range(12)}
    assert [len(part.labels) for _, part in splits.items()] == [40, 10, 10]
    assert "by group: test has 17% of the images, and of the classes 17% to 17%" in splits.notes


def test_folds_of_folders_by_group_cover_everything_but_the_test_folder(patients: Path) -> None:
    for name in "ab":
        (patients / "train").mkdir(exist_ok=True)
        (patients / name).rename(patients / "train" / name)
        save_photos(patients, f"val/{name}", *(f"p{name}v_{i}.png" for i in range(3)))
        save_photos(patients, f"test/{name}", "p99_0.png")
    tested: list[str] = []
    for fold in range(3):
        splits = open_folder(patients, group_pattern=r"(p\w+)_", folds=3, fold=fold)
        assert splits.files
        paths = {part: [path for same in files.values() for path in same] for part, files in splits.files.items()}
        groups = {part: {Path(path).name.partition("_")[0] for path in same} for part, same in paths.items()}
        assert sum(map(len, groups.values())) == len(set.union(*groups.values()))
        tested += paths["test"]
    assert len(tested) == len(set(tested)) == 66
    assert not any("p99" in path for path in tested)


def test_groups_in_two_given_splits_are_counted(patients: Path) -> None:
    for name in "ab":
        (patients / "train").mkdir(exist_ok=True)
        (patients / name).rename(patients / "train" / name)
        save_photos(patients, f"test/{name}", "p00_9.png" if name == "a" else "p77_1.png")
    notes = open_folder(patients, group_pattern=r"(p\d+)_").notes
    assert any("1 of 13 groups are in two splits, such as 'p00'" in note for note in notes), notes


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"group_pattern": "(p"}, "is no regular expression"),
        ({"group_pattern": "p"}, "has no group: put what names the group into parentheses"),
        ({"group_pattern": r"(p0\d)_"}, r"finds no group in 10 of 60 paths, such as 'a/p10_0.png'"),
        ({"group_pattern": r"/(p)"}, "data.root: the images are of 1 group, and none is left for test"),
        (
            {"folds": 30, "fold": 20, "group_pattern": r"(p\d+)_"},
            "data.root: the images are of 12 groups, and none is left for test",
        ),
    ],
)
def test_patterns_that_find_no_groups_are_refused(patients: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError, ValueError), match=message):
        open_folder(patients, **fields)


def test_a_run_keeps_its_fold_when_images_are_added(patients: Path, tmp_path: Path) -> None:
    config = ImageFolder(root=str(patients), image_size=8, folds=3, fold=1)
    record = open_splits(config)[1]
    (tmp_path / "data.json").write_text(record.model_dump_json())
    save_photos(patients, "a", "later.png")
    again = open_splits(config, RunFolder(tmp_path))[1]
    assert again.files == record.files
    assert json.loads(record.model_dump_json())["fold"] == [1, 3]
    assert again.notes[-1] == "not used: 1 image that came after the run began"


def test_classes_too_small_for_folds_are_named(tmp_path: Path) -> None:
    save_photos(tmp_path, "a", *(f"{i}.png" for i in range(9)))
    save_photos(tmp_path, "b", "0.png", "1.png")
    with pytest.raises(InputError, match=r"data.root: too few images for 5 folds: b 2; each class needs at least 3"):
        open_folder(tmp_path, folds=5, fold=0)


def test_more_folds_than_images_are_refused_by_number() -> None:
    with pytest.raises(InputError, match=r"data.folds: 50 folds are more than the 12 images"):
        check_pool({"a": 6, "b": 6}, 50, "data.root")
