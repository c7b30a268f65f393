"""`--fix` writes the fixed run as an experiment; `Overrides` repeat a run exactly."""

import shutil
from pathlib import Path

import pytest
import yaml

from regulo.__main__ import main
from regulo.analysis.doctor.command import doctor
from regulo.analysis.doctor.examination import examine
from regulo.config import compose
from regulo.config.overrides import Overrides
from regulo.core import yaml_files
from regulo.core.errors import InputError

RUNS = [
    [],
    ["regularizer=none", "callbacks=none", "logger=csv"],
    ["model=vit_tiny"],
    ["model=vit_tiny", "optim=sgd", "trainer.max_epochs=5"],
    ["data=fashion_mnist", "name=a.b-c+d"],
    ["experiment=deit_3_s", "data.root=some/where else"],
    ["experiment=small_data_cnn", "seed=3"],
    ["regularizer.dropout.fc={start:0,end:0.5,shape:cosine}", "trainer.limit_batches=3"],
    ["~callbacks.confusion", "monitor=val/acc"],
    ["regularizer=[weight_decay]", "regularizer.weight_decay.skip=[bias,'*.norm?.*']", "regularizer.weight_decay.rate=1e-5"],
    ["trainer=ddp", "experiment=torchvision_v2", "data.root=null"],
]


@pytest.mark.parametrize("overrides", RUNS, ids=map(" ".join, RUNS))
def test_overrides_repeat_the_run(overrides: list[str]) -> None:
    config = compose.load_config(overrides)
    assert compose.load_config(Overrides.from_config(config).to_args()) == config


def test_overrides_contain_no_defaults() -> None:
    assert Overrides.from_config(compose.load_config([])).to_args() == []
    assert Overrides.from_config(compose.load_config(["model=vit_tiny", "seed=1"])).to_args() == ["model=vit_tiny", "seed=1"]


@pytest.fixture
def own_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A writable copy of configs/."""
    copy = tmp_path / "configs"
    shutil.copytree(yaml_files.config_dir(), copy)
    monkeypatch.setattr(yaml_files, "config_dir", lambda: copy)
    return copy


BAD_OVERRIDES = [
    ["strength=5", "optim.lr=9"],
    ["model=vit_tiny", "optim=sgd", "optim.schedule=cosine", "optim.warmup=0.0", "optim.lr=30"],
    ["+regularizer=[swa,mc_dropout]", "~regularizer.dropout", "regularizer.weight_decay.skip=[]"],
    ["data=fashion_mnist_mini", "data.batch_size=1", "callbacks=none"],
]


@pytest.mark.parametrize("overrides", BAD_OVERRIDES, ids=map(" ".join, BAD_OVERRIDES))
def test_fix_writes_a_run_without_warnings(overrides: list[str], own_configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *overrides, "--fix"]) == 0
    output = capsys.readouterr().out
    file = own_configs / "experiment" / "doctor.yaml"
    assert 'make train ARGS="experiment=doctor"' in output
    assert [f for f in examine(["experiment=doctor"]) if f.severity != "note"] == []
    fixes = [line.split("   # ")[0].removeprefix("#").split() for line in file.read_text().splitlines() if "   # " in line]
    expected = [*overrides, *(override for fix in fixes for override in fix), "name=doctor"]
    assert compose.load_config(["experiment=doctor"]) == compose.load_config(expected)
    for part in ("experiment=doctor", "time ", "expected "):  # the tests require these of every experiment
        assert part in file.read_text().split("defaults:")[0]


def test_fix_writes_to_the_named_file_and_overwrites_nothing(own_configs: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    assert main(["doctor", "regularizer.dropout.conv=0.1", "--fix", str(file)]) == 0
    assert yaml.safe_load(file.read_text())["name"] == "mine"
    before = file.read_text()
    with pytest.raises(InputError, match="exists"):
        doctor([], str(file), None)
    with pytest.raises(InputError, match="no folder"):
        doctor([], str(tmp_path / "no" / "x.yaml"), None)
    with pytest.raises(InputError, match=r"--fix: .*x is not a name"):
        doctor([], str(tmp_path / "x"), None)
    assert file.read_text() == before


def test_an_error_without_a_fix_leaves_no_file(own_configs: Path, tmp_path: Path) -> None:
    assert main(["doctor", "--fix", "optim.lrr=1"]) == 2
    assert not (own_configs / "experiment" / "doctor.yaml").exists()


def test_exit_codes_and_refused_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "nothing to say" in capsys.readouterr().out
    assert main(["doctor", "data.label_noise=0.1"]) == 0, "a note"
    assert main(["doctor", "--difference=1"]) == 1, "a thousand images do not resolve a point"
    assert main(["doctor", "+regularizer=swa"]) == 2
    for wrong, match in (
        (["--fxi"], "did you mean --fix"),
        (["--difference=much"], "percentage points"),
        (["nowhere"], "there is no folder and no run"),
        (["nowhere", "seed=1"], "not both"),
    ):
        assert main(["doctor", *wrong]) == 2
        assert match in capsys.readouterr().err
