"""Regulo as a library: extensions in folders and in installed packages, `regulo.load`, and what a run folder must not do."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import regulo
from regulo.__main__ import build_commands, main
from regulo.config.completion import print_candidates
from regulo.core import registry, yaml_files
from regulo.core.errors import InputError
from regulo.core.extensions import VARIABLE, list_extensions, use_extensions
from regulo.core.metrics.base import list_metrics
from tests.conftest import FinishedRun

PAGE = (Path(__file__).parents[1] / "docs" / "library.md").read_text()
CONTRIBUTING = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
TRAIN = [
    "train",
    "model=linear",
    "regularizer=[pixel_noise]",
    "debug=fast",
    "logger=csv",
    "callbacks=none",
    "data.num_workers=0",
    "trainer=cpu",
    "trainer.precision=32-true",
    "trainer.memory_format=contiguous",
]


def write_example(folder: Path) -> Path:
    """The folder of the page."""
    for name, content in re.findall(r"```(?:python|yaml)\n# extensions/(\S+)\n(.*?)```", PAGE, re.S):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder


def install_example(site: Path) -> Path:
    """What pip would install of the package of the page."""
    (site / "leaf_extras").mkdir(parents=True)
    write_example(site / "leaf_extras")
    (site / "leaf_extras" / "__init__.py").write_text("raise SystemExit('the package was imported')")
    info = site / "leaf_extras-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaf-extras\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[regulo.extensions]\nleaf_extras = leaf_extras\n")
    return site


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No extensions before and after a test."""
    monkeypatch.delenv(VARIABLE, raising=False)
    yield
    assert VARIABLE not in os.environ


@pytest.fixture
def example(tmp_path: Path) -> Path:
    return write_example(tmp_path / "it's, my extensions")


@pytest.fixture(scope="module")
def example_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the extensions in the folder `extensions` beside it; tests copy what they change."""
    root = tmp_path_factory.mktemp("library")
    write_example(root / "extensions")
    assert main([*TRAIN, f"extensions={root / 'extensions'}", f"run_dir={root / 'run'}"]) == 0
    return root / "run"


def option(run: Path) -> str:
    return f"extensions={run.parent / 'extensions'}"


# ---- both ways of the page


def test_a_folder_of_extensions_trains_and_is_written_down(example_run: Path) -> None:
    assert json.loads((example_run / "result.json").read_text())["status"] == "done"
    environment = json.loads((example_run / "environment.json").read_text())
    assert re.fullmatch(rf"{example_run.parent}/extensions, sha256 [0-9a-f]{{16}}", environment["extension 1"])
    assert list_extensions() == [], "a command leaves nothing behind"
    assert "linear" not in registry.list_plugins("model")


def test_an_installed_package_is_found_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(install_example(tmp_path / "site")))
    assert main([*TRAIN, f"run_dir={tmp_path / 'run'}"]) == 0
    output = capsys.readouterr()
    assert "regulo: with the extension leaf-extras 1.0 (models: linear; regularizers: pixel_noise)" in output.err
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert re.fullmatch(r"leaf-extras, version 1\.0, sha256 [0-9a-f]{16}", environment["extension 1"])
    assert main(["evaluate", str(tmp_path / "run"), "test"]) == 0


def test_the_entry_point_of_a_package_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = install_example(tmp_path / "site")
    shutil.rmtree(site / "leaf_extras")
    monkeypatch.syspath_prepend(str(site))
    with pytest.raises(InputError, match="leaf-extras has the entry point 'leaf_extras', which is no package"):
        list_extensions()


def test_the_pyproject_of_the_page_names_the_group() -> None:
    import tomllib

    text = re.search(r"```toml\n(.*?)```", PAGE, re.S)
    assert text
    assert tomllib.loads(text[1])["project"]["entry-points"] == {"regulo.extensions": {"leaf_extras": "leaf_extras"}}


# ---- the same everywhere


def test_list_help_schema_and_completion_have_extensions(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    word = f"extensions={example}"
    assert main(["list", word]) == 0
    assert "pixel_noise             Add noise to every pixel" in capsys.readouterr().out
    assert main(["train", "--help", "pixel_noise", word]) == 0
    assert "regularizer.pixel_noise.sigma=0.1   number ≥ 0 and ≤ 1" in capsys.readouterr().out
    assert main(["schema", str(example.parent / "schema"), word]) == 0
    schema = json.loads((example.parent / "schema" / "run.json").read_text())
    assert "pixel_noise" in schema["properties"]["regularizer"]["properties"]
    capsys.readouterr()
    parsers = {name: command.parser for name, command in build_commands().items()}
    for line, expected in (
        ("regularizer=[pixel", "regularizer=[pixel_noise"),
        ("+regularizer=pix", "+regularizer=pixel_noise "),
        ("model=li", "model=linear "),
        ("regularizer.pixel_noise.s", "regularizer.pixel_noise.sigma="),
    ):
        print_candidates(parsers, ["zsh", f'regulo train "{word}" {line}'])
        assert capsys.readouterr().out.splitlines() == [expected]
    print_candidates(parsers, ["zsh", "regulo train extensions=nowhere mod"])
    assert capsys.readouterr().out == ""


def test_a_wrong_field_is_refused_with_the_nearest(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, f"extensions={example}", "regularizer.pixel_noise.sigm=1"]) == 2
    assert "regularizer.pixel_noise.sigm: unknown key, on the command line — did you mean sigma?" in capsys.readouterr().err
    (example / "configs" / "regularizer" / "pixel_noise.yaml").write_text("pixel_noise: {sigma: 2}")
    assert main([*TRAIN, f"extensions={example}"]) == 2
    assert "regularizer.pixel_noise.sigma: 2 should be less than or equal to 1" in capsys.readouterr().err


def test_the_examples_of_the_guide_are_extensions_too(tmp_path: Path) -> None:
    folder = tmp_path / "guide"
    for name, content in re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", CONTRIBUTING, re.S):
        file = folder / name.replace("src/regulo/", "").replace("core/", "")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    names = [metric.name for metric in list_metrics()]
    with use_extensions([f"extensions={folder}"]):
        assert "noise" in registry.list_plugins("data")
        assert registry.get_plugin("data", "noise")().splits().dataset_info.classes == ("heads", "tails")
        assert "noise" in yaml_files.list_options("study")
        assert [metric.name for metric in list_metrics()] == [*names, "kappa"]
    assert [metric.name for metric in list_metrics()] == names


def test_several_folders_and_the_variable(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(example / "models", first / "models")
    shutil.copytree(example / "regularizers", second / "regularizers")
    for words in ([f"extensions=[{first},{second}]"], [f"extensions={first}", f"extensions={second}"]):
        with use_extensions(["seed=1", *words, "x"]) as others:
            assert others == ["seed=1", "x"]
            assert [extension.folder for extension in list_extensions()] == [first, second]
    with monkeypatch.context() as patch:
        patch.setenv(VARIABLE, str(first))
        patch.chdir(tmp_path)
        with use_extensions(["extensions=second", "extensions=first"]):
            assert [extension.folder for extension in list_extensions()] == [first, second]
            assert {"linear"} <= set(registry.list_plugins("model"))
            assert os.environ[VARIABLE] == f"{first}:{second}", "processes that are started have them, too"
        assert os.environ[VARIABLE] == str(first)


def test_another_folder_with_the_same_names_is_another_extension(example: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(example, tmp_path / "other"))
    file = other / "regularizers" / "pixel_noise.py"
    file.write_text(file.read_text().replace("= 0.1", "= 0.9"))
    for folder, sigma in ((example, 0.1), (other, 0.9), (example, 0.1)):
        with use_extensions([f"extensions={folder}"]):
            assert registry.get_plugin("regularizer", "pixel_noise")().sigma == sigma


# ---- what is refused


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("regularizers/mixup.py", "mixup exists twice: in {package}/regularizers and in {folder}/regularizers"),
        ("models/base.py", "base exists twice: in {package}/models and in {folder}/models"),
        (
            "configs/model/resnet_small.yaml",
            "configs/model/resnet_small.yaml and {folder}/configs/model/resnet_small.yaml have the same name",
        ),
        ("configs/experiment/lesson.yaml", "{folder}/configs/experiment/lesson.yaml have the same name"),
    ],
)
def test_a_name_that_exists_twice_is_refused_with_both_places(
    name: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "extension"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("name: x")
    assert main(["train", f"extensions={folder}"]) == 2
    assert text.format(package=yaml_files.PACKAGE, folder=folder) in capsys.readouterr().err


def test_a_folder_without_extensions_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a:b" / "models").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name, text in (
        ("nowhere", "there is no folder"),
        ("file", "there is no folder"),
        ("empty", "has none of the folders regularizers, models"),
        ("a:b", "':' in its path"),
    ):
        assert main(["list", f"extensions={tmp_path / name}"]) == 2
        assert text in capsys.readouterr().err
    assert main(["list", "extensions="]) == 2
    assert "the path is empty" in capsys.readouterr().err


def test_a_shared_module_is_no_extension(example: Path) -> None:
    (example / "regularizers" / "_shared.py").write_text("SIGMA = 0.3")
    file = example / "regularizers" / "pixel_noise.py"
    file.write_text("from regulo.regularizers._shared import SIGMA\n" + file.read_text().replace("= 0.1", "= SIGMA"))
    with use_extensions([f"extensions={example}"]):
        assert "_shared" not in registry.list_plugins("regularizer")
        assert registry.get_plugin("regularizer", "pixel_noise")().sigma == 0.3


# ---- runs that need an extension


def test_a_missing_extension_is_named(example_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = f"{example_run.parent}/extensions: was an extension of this run, and is not here — if you trust its code"
    assert main(["evaluate", str(example_run)]) == 2
    errors = capsys.readouterr().err
    assert "model.name: there is no model 'linear'" in errors
    assert missing in errors
    run = Path(shutil.copytree(example_run, tmp_path / "run"))
    (run / "result.json").write_text('{"status": "interrupted"}')
    assert main(["train", "--resume", str(run)]) == 2
    assert missing in capsys.readouterr().err


def test_an_extension_that_has_changed_is_reported(example_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(example_run), "test", option(example_run)]) == 0
    assert "has changed" not in capsys.readouterr().err
    root = Path(shutil.copytree(example_run.parent, tmp_path / "copy"))
    file = root / "run" / "environment.json"
    file.write_text(file.read_text().replace(str(example_run.parent), str(root)))
    with (root / "extensions" / "models" / "linear.py").open("a") as source:
        source.write("# a change\n")
    assert main(["evaluate", str(root / "run"), "test", option(root / "run")]) == 0
    assert f"regulo: the extension {root}/extensions has changed since the run" in capsys.readouterr().err


def test_no_code_runs_from_a_path_in_a_run_folder(example_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The stranger's run names an extension that is on this disk, inside and outside of its folder."""
    run = Path(shutil.copytree(example_run, tmp_path / "run"))
    marker = tmp_path / "code_has_run"
    for folder in (run, run / "extensions", tmp_path):
        for name in ("models/linear.py", "regularizers/pixel_noise.py", "regulo_extensions.py", "sitecustomize.py"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"open({str(marker)!r}, 'w')")
    config = (run / "config.yaml").read_text()
    for text in (config, f"extensions: [{run}]\n{config}"):
        (run / "config.yaml").write_text(text)
        for place in (run, tmp_path, run / "extensions"):
            (run / "environment.json").write_text(json.dumps({"extension 1": f"{place}, sha256 0123456789abcdef"}))
            for words in (["evaluate"], ["predict", str(run)], ["doctor"], ["report"], ["train", "--resume"]):
                assert main([*words, str(run)]) in (0, 2)
    assert not marker.exists()


@pytest.mark.parametrize("text", ["\x1b[2J, sha256 00", "x" * 9000, "", ", sha256 ", "a, version 1, sha256 g"])
def test_what_a_stranger_wrote_about_extensions_is_only_shown(
    text: str, example_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(example_run, tmp_path / "run"))
    (run / "environment.json").write_text(json.dumps({"extension 1": text}))
    assert main(["evaluate", str(run)]) == 2
    output = capsys.readouterr()
    assert "\x1b" not in output.out + output.err
    assert all(len(line) < 500 for line in output.err.splitlines())


# ---- from Python


def test_load_predicts_what_the_command_predicts(
    finished_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 30), dtype="uint8")
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file, image in zip(files, pixels, strict=True):
        Image.fromarray(image).save(file)
    run = regulo.load(finished_run.folder)
    probabilities = run.predict(files)
    assert probabilities.shape == (3, 10)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3))
    assert torch.equal(run.predict(list(pixels)), probabilities)
    assert torch.equal(run.predict(pixels[..., None]), probabilities)
    assert main(["predict", str(finished_run.folder), *map(str, files)]) == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    best = probabilities.max(1)
    assert [row[1] for row in rows] == [run.dataset_info.classes[int(k)] for k in best.indices]
    assert [row[2] for row in rows] == [f"{p:.4f}" for p in best.values.tolist()]
    assert run.predict([]).shape == (0, 10)


def test_load_refuses_what_is_no_image_and_no_run(finished_run: FinishedRun, tmp_path: Path) -> None:
    run = regulo.load(finished_run.folder)
    (tmp_path / "x.png").write_text("no image")
    wrong: Any
    for wrong, text in (
        ([tmp_path / "x.png"], "x.png"),
        ([tmp_path / "nowhere.png"], "nowhere.png"),
        ([np.zeros((8, 8))], r"images\[0\]: the image is float64 of the shape \(8, 8\)"),
        ([np.zeros((8, 8, 3), "uint8")], r"the run takes uint8 of the shape \(height, width, 1\)"),
    ):
        with pytest.raises(InputError, match=text):
            run.predict(wrong)
    with pytest.raises(InputError, match="there is no folder and no run"):
        regulo.load(tmp_path / "nowhere")


def test_load_takes_extensions(example_run: Path) -> None:
    with pytest.raises(InputError, match="was an extension of this run"):
        regulo.load(example_run)
    run = regulo.load(example_run, extensions=[example_run.parent / "extensions"])
    assert run.predict(np.zeros((2, 28, 28), "uint8")).shape == (2, 10)


def test_importing_regulo_is_quick() -> None:
    code = "import sys; import regulo; print({'torch', 'numpy', 'pydantic', 'yaml', 'regulo.core'} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "set()\n"
