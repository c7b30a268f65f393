"""A study from the command line to the experiment that it writes. Its runs are fake, unless a test is about runs."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from regulo.__main__ import main
from regulo.analysis.launchers import local
from regulo.analysis.launchers.local import JobEvent
from regulo.analysis.tuning import command
from regulo.analysis.tuning.budget import Cost
from regulo.analysis.tuning.command import tune
from regulo.config import compose
from regulo.core.errors import InputError, RunError
from regulo.tracking.run_summary import summarize_runs
from tests.tuning.conftest import HELPFUL, TINY, formula_train

SEARCH = "tune.search=[label_smoothing,ema,mixup,cutmix,optim.lr]"
WORDS = ["trials=14", "study=small", SEARCH, *TINY]
ROOT = Path("runs/tune/small")


def read_record() -> dict[str, Any]:
    return json.loads((ROOT / "tune.json").read_text())


def test_a_study_finds_what_helps_and_proves_it(job_names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(WORDS) == 0
    record = read_record()
    proof = record["proof"]
    plan = next(p for p in proof["plans"] if p["label"] == proof["recommended"])
    assert set(HELPFUL) <= set(plan["techniques"])
    assert plan["to_default"]["test/loss"]["clear"]
    assert [p["label"] for p in proof["plans"]][:2] == ["default", "none"]
    assert len([name for name in job_names if name.startswith("proof")]) == 15
    assert {run["seed"] for run in record["runs"]} == {1, 2, 3}, "not that of the search"
    assert record["importance"][0]["name"] in HELPFUL
    assert {run.study for run in summarize_runs()} == {"small"}
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("recommended: plan") for line in lines)
    assert any(line.startswith("winner's curse") for line in lines)
    first = next(i for i, line in enumerate(lines) if line.startswith("small: "))
    assert len([line for line in lines[first:] if not line.startswith("written")]) <= 10
    experiment = (ROOT / "small.yaml").read_text()
    for word in ("command", "time", "expected", "minus that of the default plan"):
        assert word in experiment.split("defaults:")[0]
    page = (ROOT / "report.html").read_text()
    assert "Which choices mattered" in page
    assert "patch_dropout" not in page, "only what was named is looked at"


@pytest.mark.long
def test_the_experiment_is_the_recommended_run(job_names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tune(WORDS) == 0
    record = read_record()
    plan = next(p for p in record["proof"]["plans"] if p["label"] == record["proof"]["recommended"])
    configs = tmp_path / "extension" / "configs" / "experiment"
    configs.mkdir(parents=True)
    (configs / "small.yaml").write_text((ROOT / "small.yaml").read_text())
    monkeypatch.setenv("REGULO_EXTENSIONS", str(tmp_path / "extension"))
    assert main(["doctor", "experiment=small"]) in (0, 1)
    expected = compose.load_config(["logger=csv", "callbacks=none", *TINY, *plan["overrides"]])
    assert expected.regularizer.keys() == set(plan["techniques"])


@pytest.mark.long
def test_a_study_that_was_stopped_goes_on_and_repeats_nothing(
    job_names: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_queue = local.run_queue

    def interrupted(*arguments: Any) -> Any:
        for i, event in enumerate(run_queue(*arguments)):
            yield event
            if i == 12:
                raise KeyboardInterrupt

    monkeypatch.setattr(local, "run_queue", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            tune(WORDS)
    monkeypatch.setattr(local, "run_queue", run_queue)
    assert tune(["--resume", "latest"]) == 0
    assert len(job_names) - len(set(job_names)) <= 2, "a run that was stopped runs again"
    done, recommended = list(job_names), read_record()["proof"]["recommended"]
    assert tune(WORDS) == 0
    assert job_names == done
    assert read_record()["proof"]["recommended"] == recommended
    assert tune(["--resume", "small", "trials=15"]) == 0
    assert len({name for name in job_names if name.startswith("plan") and name.endswith("-9-epochs")}) == 15, "a longer search"


@pytest.mark.long
def test_a_changed_study_is_refused(job_names: list[str]) -> None:
    assert tune(["trials=3", "plans=1", "study=small", "tune.search=[mixup]", *TINY]) == 0
    for change in ("optim.lr=0.3", "rungs=1", "model.depth=14", "tune.fix=[mixup.p]"):
        with pytest.raises(InputError, match="study=another"):
            tune(["trials=3", "plans=1", "study=small", "tune.search=[mixup]", *TINY, change])


@pytest.mark.long
def test_runs_that_fail_are_data_and_the_page_says_so(job_names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def sometimes(words: list[str]) -> int:
        config = compose.load_config(words)
        if "mixup" in config.regularizer and config.run.seed == 0:
            folder = Path(str(config.run.run_dir))
            folder.mkdir()
            (folder / "config.yaml").write_text("seed: 0")
            error = {"status": "failed", "error": "the loss is nan", "error_type": "NonFiniteLossError", "seed": 0}
            (folder / "result.json").write_text(json.dumps(error))
            raise RunError("the loss is nan")
        if "cutmix" in config.regularizer and config.run.seed == 0:
            raise RunError("out of memory")
        return formula_train(words)

    monkeypatch.setattr("regulo.training.train.train", sometimes)
    tune([*WORDS, "regularizer=[weight_decay]"])
    record = read_record()
    states = {trial["status"] for trial in record["trials"]}
    assert states == {"done", "diverged", "failed"}
    assert all("mixup" in t["techniques"] for t in record["trials"] if t["status"] == "diverged")
    assert "out of memory" in (ROOT / "report.html").read_text()
    assert len(job_names) == len(set(job_names))


def test_a_study_with_several_objectives_has_whole_runs(job_names: list[str]) -> None:
    words = ["trials=5", "plans=1", "study=small", "tune.objectives=[epoch_seconds]", "tune.search=[ema,mixup]", *TINY]
    assert tune(words) == 0
    assert {name for name in job_names if name.startswith("plan") and not name.endswith("-27-epochs")} == set()
    assert all(len(trial["others"]) == 1 for trial in read_record()["trials"])


def test_a_search_in_which_nothing_works_ends_soon_and_says_why(job_names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(words: list[str]) -> int:
        raise RunError("No space left on device")

    monkeypatch.setattr("regulo.training.train.train", broken)
    with pytest.raises(RunError, match="the first 3 runs failed, the last one with: No space left"):
        tune(WORDS)
    assert len(job_names) == 3


@pytest.mark.long
def test_a_search_that_stops_working_ends_and_repeats_its_failures_later(
    job_names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(words: list[str]) -> int:
        if len(job_names) > 5:
            raise RunError("the data folder is gone")
        return formula_train(words)

    monkeypatch.setattr("regulo.training.train.train", train)
    with pytest.raises(RunError, match="the last 8 runs failed, the last one with: the data folder is gone"):
        tune(WORDS)
    failed = job_names[5:]
    assert len(failed) == 8
    monkeypatch.setattr("regulo.training.train.train", formula_train)
    assert tune(["--resume", "small"]) == 0
    assert Counter(job_names) == Counter(set(job_names)) + Counter(failed), "only these ran twice"
    assert {trial["status"] for trial in read_record()["trials"]} == {"done"}


@pytest.mark.long
def test_a_proof_that_no_longer_fits_into_the_budget_is_refused(job_names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "guess_cost", lambda config, args, queue: Cost(0.05, 0.1))
    assert tune(["budget=60s", "at_once=1", "study=small", SEARCH, *TINY]) == 0
    done = len(job_names)
    with pytest.raises(InputError, match="is too short: the proof alone, 150 runs with 30 seeds"):
        tune(["--resume", "small", "seeds=30"])
    assert len(job_names) == done


@pytest.mark.long
def test_an_experiment_that_somebody_has_edited_stays_as_it_is(
    job_names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path("configs/experiment/small.yaml")
    file.parent.mkdir(parents=True)
    words = ["trials=3", "plans=1", "study=small", "tune.search=[ema]", *TINY]
    assert tune(words) == 0
    assert "experiment=small" in file.read_text().partition("defaults:")[0]
    assert "experiment=small" in (ROOT / "report.html").read_text()
    before = file.read_text()
    assert tune(words) == 0
    assert file.read_text() == before
    file.write_text("# mine")
    assert tune(words) == 0
    assert file.read_text() == "# mine"
    assert "experiment=small" not in (ROOT / "small.yaml").read_text().partition("defaults:")[0]
    assert "experiment=small" not in (ROOT / "report.html").read_text()


def test_a_full_disk_ends_the_study_with_a_clear_message(job_names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("regulo.analysis.tuning.study.SearchStudy.finish", full)
    with pytest.raises(RunError, match=r"cannot write .*small: No space left on device"):
        tune(WORDS)


def test_time_is_spent_on_the_search_and_kept_for_the_proof(job_names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fake run counts as one second, so a run of 27 epochs seems to take three: 15 of them are kept for the proof."""
    monkeypatch.setattr(command, "guess_cost", lambda config, args, queue: Cost(0.05, 0.1))
    assert tune(["budget=60s", "at_once=1", "study=small", SEARCH, *TINY]) == 0
    searched = [name for name in job_names if name.startswith("plan")]
    assert 6 <= len(searched) <= 30
    monkeypatch.setattr(command, "guess_cost", lambda config, args, queue: Cost(10.0, 1.0))
    with pytest.raises(InputError, match="is too short: the proof alone"):
        tune(["budget=60s", "at_once=1", "study=other", SEARCH, *TINY])
    assert not Path("runs/tune/other").exists()


def test_an_event_of_a_job_that_is_not_ours_is_ignored(job_names: list[str]) -> None:
    from regulo.analysis.tuning.search import Search

    search = Search.__new__(Search)
    search.running = {}
    search.handle(JobEvent("else", 1.0))
