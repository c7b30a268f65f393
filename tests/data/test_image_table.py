"""image_table: every mess that a real table has ends in the right images, or in one clear message."""

import codecs
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regulo.core.errors import InputError, nearest, visible_form
from regulo.data.base import Splits
from regulo.data.components.record import open_splits
from regulo.data.image_folder import ImageFolder
from regulo.data.image_table import ImageTable
from regulo.evaluation.labeled_images import list_labeled_images
from regulo.tracking.run_dir import RunFolder
from tests.conftest import rng

Rows = list[tuple[str, ...]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos of two classes, ten each, in `photos/`."""
    for k, name in enumerate(("ants", "bees")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng(100 * k + i).integers(0, 256, (9, 11, 3), dtype="uint8")
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def rows_of(photos: Path) -> Rows:
    return [(path.relative_to(photos).as_posix(), path.parent.name) for path in sorted(photos.rglob("*.png"))]


def write(file: Path, rows: Rows, header: str = "path,label", separator: str = ",") -> Path:
    file.write_text("\n".join([header, *(separator.join(row) for row in rows)]) + "\n")
    return file


def open_table(file: Path, **fields: Any) -> Splits:
    return ImageTable(table=str(file), image_size=8, **fields).splits()


def sizes(splits: Splits) -> list[list[int]]:
    return [np.bincount(part.labels, minlength=splits.dataset_info.num_classes).tolist() for _, part in splits.items()]


def paths(splits: Splits, part: str) -> set[str]:
    assert splits.files
    return {path for same in splits.files[part].values() for path in same}


# ---- the same as folders


def test_a_table_without_splits_holds_out_the_same_files_as_the_folder(photos: Path) -> None:
    table = open_table(write(photos / "t.csv", rows_of(photos)[::-1]))
    folder = ImageFolder(root=str(photos), image_size=8).splits()
    assert table.files == folder.files
    assert table.dataset_info == folder.dataset_info
    assert table.digests == folder.digests
    for (_, a), (_, b) in zip(table.items(), folder.items(), strict=True):
        assert a.labels.tolist() == b.labels.tolist()
        assert (a.images[0] == b.images[0]).all()
    assert table.notes[0] == "20 rows of t.csv, separated by commas, with the columns path, label"
    assert "held out: of each class 15% for test and 15% for val, as there is no test and no val split" in table.notes


def test_the_splits_of_a_column_have_the_usual_names_and_the_root_may_be_elsewhere(photos: Path, tmp_path: Path) -> None:
    names = ["Training", "train", "TRAIN", "train", "validation", "dev", "val", "Testing", "test", "tst"] * 2
    rows = [(*row, name) for row, name in zip(rows_of(photos), names, strict=True)]
    splits = open_table(write(tmp_path / "t.csv", rows, "path,label,split"), root=str(photos))
    assert sizes(splits) == [[4, 4], [3, 3], [3, 3]]
    (tmp_path / "sub").mkdir()
    absolute = [(str(photos / path), label, split) for path, label, split in rows]
    again = open_table(write(tmp_path / "sub" / "t.csv", absolute, "path,label,split"), root=str(photos))
    assert again.files == splits.files


def test_groups_of_a_column_stay_together_also_in_folds(photos: Path) -> None:
    rows = [(path, label, f"{label} plant {i % 5}") for i, (path, label) in enumerate(rows_of(photos))]
    file = write(photos / "t.csv", rows, "path,label,group")
    group_of = {path: group for path, _, group in rows}
    for fields in ({}, {"folds": 2, "fold": 0}, {"folds": 2, "fold": 1}):
        splits = open_table(file, **fields)
        groups = [{group_of[path] for path in paths(splits, part)} for part in ("train", "val", "test")]
        assert sum(map(len, groups)) == 10
        assert all(groups)


# ---- how the file is written


@pytest.mark.parametrize(
    ("separator", "name"),
    [(",", "commas"), (";", "semicolons"), ("\t", "tabs"), ("|", "bars")],
    ids=["comma", "semicolon", "tab", "bar"],
)
def test_separators_are_detected_and_said(photos: Path, separator: str, name: str) -> None:
    rows = [(path, f'"{label}, or; so|on"') for path, label in rows_of(photos)]
    splits = open_table(write(photos / "t.csv", rows, separator.join(("path", "label")), separator))
    assert splits.dataset_info.classes == ("ants, or; so|on", "bees, or; so|on")
    assert f"separated by {name}" in splits.notes[0]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("word", ["sep=", "SEP="])
def test_the_first_line_with_which_excel_names_the_separator_is_no_header(photos: Path, separator: str, word: str) -> None:
    file = write(photos / "t.csv", rows_of(photos), separator.join(("path", "label")), separator)
    file.write_text(f"{word}{separator}\n{file.read_text()}")
    assert open_table(file).dataset_info.classes == ("ants", "bees")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_byte_order_marks_and_scripts(photos: Path, encoding: str) -> None:
    text = "Path , LABEL\r\n" + "".join(
        f"{path}, {'蟻' if label == 'ants' else 'Bienchen'} \r\n" for path, label in rows_of(photos)
    )
    mark = codecs.BOM_UTF16_LE if encoding == "utf-16-le" else b""
    (photos / "t.csv").write_bytes(mark + text.encode(encoding))
    assert open_table(photos / "t.csv").dataset_info.classes == ("Bienchen", "蟻")


def test_numbers_are_labels_in_their_order(photos: Path) -> None:
    rows = [(path, str((2, 10)[label == "bees"])) for path, label in rows_of(photos)]
    assert open_table(write(photos / "t.csv", rows)).dataset_info.classes == ("2", "10")


def test_parquet_is_the_same_as_csv(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = rows_of(photos)
    columns = {"path": [r[0] for r in rows], "label": [float(r[1] == "bees") for r in rows], "note": [None] * len(rows)}
    parquet.write_table(pyarrow.table(columns), photos / "t.parquet")
    splits = open_table(photos / "t.parquet")
    assert splits.dataset_info.classes == ("0", "1")
    csv = open_table(write(photos / "t.csv", [(path, str(int(label == "bees"))) for path, label in rows]))
    assert csv.files == splits.files
    assert splits.notes[:2] == ("20 rows of t.parquet, Parquet, with the columns path, label", "columns that are not used: note")
    (photos / "torn.parquet").write_bytes((photos / "t.parquet").read_bytes()[:200])
    with pytest.raises(InputError, match=r"data.table: .*torn.parquet cannot be read as Parquet"):
        open_table(photos / "torn.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"the package pyarrow is needed — pip install 'regulo\[tables\]'"):
        open_table(photos / "t.parquet")


def test_duplicate_rows_windows_paths_and_dots_are_one_image(photos: Path) -> None:
    rows = rows_of(photos)
    more = [rows[0], ("ants\\1.png", "ants"), ("./ants/../ants/2.png", "ants")]
    splits = open_table(write(photos / "t.csv", [*rows, *more]))
    assert splits.files == open_table(write(photos / "u.csv", rows)).files
    assert "rows that repeat another one, and are left out: 3" in splits.notes


# ---- what is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("path,label\n", "has no row"),
        ("file,label\n{ants},a\n", "has no column 'path'; it has 'file', 'label' — name the columns path, label, split, group"),
        ("path;Lable\n{ants};a\n", "has no column 'label'; it has 'path', 'Lable'.*did you mean lable"),
        ("path,label,path\n{ants},a,b\n", "has two columns 'path'"),
        ("path,label,weight\n{ants},a,2\n", "has a column 'weight', which is not used — weights of single images are not supp"),
        ("path,label\n{ants},a\n{bees}\n", "line 3 of .* has 1 cells, and the header has 2"),
        ('path,label\n{ants},"a\n{bees},b\n', "line 3 of .* is no row of a table"),
        ("path,label\n{ants},a\n{bees},\n", r"a row has no label \(line 3\)"),
        ("path,label,group\n{ants},a,\n{bees},b,\n", r"2 rows have no group \(lines 2, 3\)"),
        ("path,label,split\n{ants},a,trian\n{bees},b,test\n", r"the split 'trian' \(line 2\) — write train, val or test"),
        ("path,label,split\n{ants},a,eval\n{bees},b,train\n", r"a row has the split 'eval'"),
        ("path,label,split\n{ants},a,test\n{bees},b,val\n", "no row has the split train; there are test, val"),
        ("path,label\n{ants},a\n{bees},b\n{ants},b\n", r"in the column label: '.*' has 'a' and 'b' \(lines 2 and 4\)"),
        ("path,label,split\n{ants},a,train\n{bees},b,train\n{ants},a,test\n", "two entries in the column split"),
        ("path,label\nx.png,a\n{bees},b\ny.png,b\n", "2 of 3 files are not in .*: 'x.png', 'y.png' — put the files there, or"),
        ("path,label\n0.png,a\n1.png,b\n", "2 of 2 files are not in .* — data.root=.*ants?"),
        ("path,label\n../secret.png,a\n{bees},b\n", r"a row has a path that leads out of .* \(line 2\)"),
        ("path,label\n{ants},a\n{bees},a\n", "the training images have 1 class, 'a'"),
        ("path,label\n{ants},a\n{bees},b\n", "data.table: too few images for training: a 1, b 1; each class needs at least 3"),
        ("path,label,split\n{ants},a,train\n{bees},b,train\nants/5.png,aa,val", r"'aa' in val, which train does not have"),
        ("path,label\n{ants},a\x00\n", "is no text"),
    ],
)  # fmt: skip
def test_each_mistake_has_one_message(photos: Path, text: str, message: str) -> None:
    file = photos / "t.csv"
    file.write_text(text.format(ants="ants/0.png", bees="bees/0.png"))
    with pytest.raises(InputError, match=message) as refusal:
        open_table(file)
    assert len(refusal.value.problems) == 1
    assert refusal.value.problems[0].key == "data.table"


def test_files_that_are_no_tables_are_refused(photos: Path) -> None:
    (photos / "t.csv").write_bytes("path,label\nants/0.png,Käfer\n".encode("latin-1"))
    with pytest.raises(InputError, match="is neither a CSV file in UTF-8 nor a Parquet file"):
        open_table(photos / "t.csv")
    with pytest.raises(InputError, match=r"data.table: there is no file .*/tt.csv — did you mean t.csv\?"):
        open_table(photos / "tt.csv")
    with pytest.raises(InputError, match=r"data.table: image_table needs the table"):
        ImageTable().splits()
    with pytest.raises(InputError, match=r"data.root: there is no folder"):
        open_table(photos / "t.csv", root=str(photos / "none"))


def test_labels_that_differ_in_case_are_said(photos: Path) -> None:
    rows = [(path, label if i % 2 else label.title()) for i, (path, label) in enumerate(rows_of(photos))]
    splits = open_table(write(photos / "t.csv", rows))
    assert "classes that differ only in case: Ants, ants" in splits.notes


# ---- a run and its table


def test_a_run_needs_its_files_and_not_its_table(photos: Path, tmp_path: Path) -> None:
    file = write(photos / "t.csv", rows_of(photos))
    config = ImageTable(table=str(file), image_size=8)
    record = open_splits(config)[1]
    assert record.source == f"image_table {file}"
    (tmp_path / "data.json").write_text(record.model_dump_json())
    file.write_text("path,label\nbees/0.png,ants\n")
    assert open_splits(config, RunFolder(tmp_path))[1].files == record.files
    file.unlink()
    assert open_splits(config, RunFolder(tmp_path))[1].files == record.files
    moved = config.model_copy(update={"root": str(photos.rename(tmp_path / "moved"))})
    assert open_splits(moved, RunFolder(tmp_path))[1].digests == record.digests


# ---- names that look alike, and files with several names


def test_labels_that_look_the_same_are_said(photos: Path) -> None:
    names = ["caf\u00e9", "cafe\u0301"]
    splits = open_table(write(photos / "t.csv", [(path, names[i % 2]) for i, (path, _) in enumerate(rows_of(photos))]))
    assert "classes that look the same, and are not: 'cafe\\u0301', 'caf\\xe9'" in splits.notes
    for text in ("ants\u200b", "a\u00a0b", "a  b"):
        labels = {"ants": text, "bees": visible_form(text)}
        splits = open_table(write(photos / "t.csv", [(path, labels[label]) for path, label in rows_of(photos)]))
        assert any(note.startswith("classes that look the same") for note in splits.notes)


def test_folders_that_look_the_same_are_said(photos: Path) -> None:
    (photos / "bees").rename(photos / "Ants")
    assert "classes that differ only in case: Ants, ants" in ImageFolder(root=str(photos), image_size=8).splits().notes


def test_a_hint_shows_letters_that_look_the_same() -> None:
    assert nearest("caf\u00e9", ["cafe\u0301"]) == "did you mean 'cafe\\u0301'?"


@pytest.mark.parametrize("forms", ["NFC NFD", "NFD NFC"])
def test_files_in_another_normal_form_are_found(photos: Path, forms: str) -> None:
    on_disk, in_table = (unicodedata.normalize(form, "caf\u00e9") for form in forms.split())
    (photos / "ants").rename(photos / on_disk)
    rows = [(path.replace(on_disk, in_table), "bees" if "bees" in path else "ants") for path, _ in rows_of(photos)]
    assert paths(open_table(write(photos / "t.csv", rows)), "train") <= {path for path, _ in rows_of(photos)}


def test_absolute_paths_and_the_root_may_lead_through_a_link(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(photos)
    for real, root in ((photos, tmp_path / "link"), (tmp_path / "link", photos)):
        table = write(tmp_path / "t.csv", [(f"{real}/{path}", label) for path, label in rows_of(photos)])
        assert sizes(open_table(table, root=str(root))) == [[7, 7], [1, 1], [2, 2]]


def test_parquet_of_other_programs(photos: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    names, labels = zip(*rows_of(photos), strict=True)
    pixels = [{"bytes": b"\0"}] * len(names)
    columns = {"path": [name.encode() for name in names], "label": [label.encode() for label in labels], "image": pixels}
    parquet.write_table(pyarrow.table(columns), photos / "t.parquet")
    splits = open_table(photos / "t.parquet")
    assert splits.dataset_info.classes == ("ants", "bees")
    assert "columns that are not used: image" in splits.notes
    parquet.write_table(pyarrow.table({"path": names, "label": [[label] for label in labels]}), photos / "t.parquet")
    with pytest.raises(InputError, match=r"the column 'label' of .* holds values of the type list"):
        open_table(photos / "t.parquet")


def test_evaluation_matches_classes_in_another_normal_form(photos: Path) -> None:
    (photos / "ants").rename(photos / "caf\u00e9")
    images = list_labeled_images(str(photos), ["bees", "cafe\u0301"])
    assert np.bincount(images.labels).tolist() == [10, 10]
    assert images.notes == []
    (photos / "bees").rename(photos / "cafe\u0301")
    images = list_labeled_images(str(photos), ["b", "cafe\u0301", "caf\u00e9"])  # a run that has both
    assert np.bincount(images.labels).tolist() == [0, 10, 10]
