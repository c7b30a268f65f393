"""Random command lines, saved configurations and files are accepted, or refused with the name of each problem: no tracebacks."""

import collections
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.safety.command_lines import commands, mild, mutate
from tests.safety.conftest import WorkStartedError, run_command

SHORT, LONG = 0, 1
COUNTS = {"commands": (100, 20_000), "configs": (120, 4_000), "files": (20, 1000), "studies": (8, 400), "trained": (3, 100)}
"""examples in `make test` and in `make test-long`"""
SIZES = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def fuzz_settings(kind: str, size: int) -> Any:
    """The number of examples of this kind. `make test` always has the same examples, `make test-long` has new ones."""
    return settings(
        max_examples=COUNTS[kind][size],
        phases=[Phase.generate],  # examples are short, so that shrinking is not needed
        deadline=None,
        derandomize=size == SHORT,
        database=None,
        suppress_health_check=QUIET,
    )


class OutcomeCounter:
    """Counts the outcomes of examples."""

    def __init__(self) -> None:
        self.outcomes: collections.Counter[str] = collections.Counter()

    def run(self, arguments: list[str]) -> str:
        """Run a command and count its outcome: it is done, is refused with the name of each problem, or would start its work."""
        try:
            code, _, err = run_command(arguments)
        except WorkStartedError:
            outcome = "accepted"
        else:
            outcome = {0: "done", 1: "done", 2: "refused"}[code]
            if code == 2 and err:
                heading, *problems = err.rstrip("\n").split("\n")
                assert heading == f"regulo: {len(problems)} problem{'s' * (len(problems) > 1)}, nothing was started", err
                for line in problems:
                    key, _, what = line.partition(": ")
                    assert key.strip(), line
                    assert what.strip(), line
                    assert line.isprintable(), line
        self.outcomes[outcome] += 1
        return outcome

    def report(self, what: str) -> None:
        """Print the counts. At least one example must be refused."""
        print(f"\nfuzzed: {self.outcomes.total():,} {what}: {dict(self.outcomes)}, 0 tracebacks")
        assert self.outcomes["refused"]


@pytest.mark.parametrize("size", SIZES)
def test_every_command_line_is_accepted_or_refused_by_name(size: int, stop_before_work: None, capsys: Any) -> None:
    counter = OutcomeCounter()

    @fuzz_settings("commands", size)
    @given(commands())
    def each(arguments: list[str]) -> None:
        counter.run(arguments)

    each()
    with capsys.disabled():
        counter.report("command lines")
    assert counter.outcomes["accepted"]


@pytest.mark.parametrize("size", SIZES)
def test_every_saved_configuration_is_accepted_or_refused_by_name(
    size: int, run_copy: Path, stop_before_work: None, capsys: Any
) -> None:
    counter = OutcomeCounter()
    config = yaml.safe_load((run_copy / "config.yaml").read_text())

    @fuzz_settings("configs", size)
    @given(mutate(config), st.sampled_from([["evaluate"], ["predict"], ["doctor"]]))
    def each(content: Any, command: list[str]) -> None:
        try:
            text = yaml.safe_dump(content, allow_unicode=True)
        except (yaml.YAMLError, UnicodeError, ValueError):
            text = repr(content)
        (run_copy / "config.yaml").write_text(text, errors="replace")
        counter.run([*command, str(run_copy), *([str(run_copy / "figures")] if command == ["predict"] else [])])

    each()
    with capsys.disabled():
        counter.report("saved configurations")


FILES = ["result.json", "plan.json", "measures.json", "calibration.json", "metrics.csv", "config.yaml"]


@pytest.mark.parametrize("size", SIZES)
def test_every_file_of_a_run_is_read_or_refused_by_name(
    size: int, run_copy: Path, cached_listings: None, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from regulo.analysis.doctor import examination
    from regulo.analysis.doctor.base import RunCase
    from regulo.analysis.report import predictions

    # it builds the model, which the tests of hostile checkpoints do
    monkeypatch.setattr(predictions, "predict_again", lambda folder, data_root=None: "not here")
    monkeypatch.setattr(examination, "run_rules", lambda case: [])
    monkeypatch.setattr(RunCase, "of", lambda config: config)
    (run_copy / "measures.json").write_text(json.dumps({"temperature": 1.1, "test/ece_scaled": 0.1}))
    (run_copy / "calibration.json").write_text(json.dumps({"temperature": 1.1}))
    contents = {name: (run_copy / name).read_text() for name in FILES}
    counter = OutcomeCounter()

    @fuzz_settings("files", size)
    @given(st.data(), st.sampled_from(FILES), st.sampled_from(["report", "doctor", "doctor", "doctor"]))
    def each(data: st.DataObject, name: str, command: str) -> None:
        (run_copy / name).write_text(_mutate_text(data, name, contents[name]), errors="replace")
        counter.run([command, str(run_copy)])
        (run_copy / name).write_text(contents[name])

    each()
    with capsys.disabled():
        counter.report("files of a run")


@pytest.mark.parametrize("size", SIZES)
def test_every_study_is_shown_or_refused_by_name(size: int, tmp_path: Path, capsys: Any) -> None:
    from tests.report import studies

    content = json.loads((studies.make(tmp_path) / "study.json").read_text())
    counter = OutcomeCounter()

    @fuzz_settings("studies", size)
    @given(mutate(content))
    def each(record: Any) -> None:
        (tmp_path / "study.json").write_text(json.dumps(record), errors="replace")
        counter.run(["report", str(tmp_path)])

    each()
    with capsys.disabled():
        counter.report("studies")


def _mutate_text(data: st.DataObject, name: str, text: str) -> str:
    """The text of a file with changes in its content or in its characters."""
    if data.draw(st.integers(0, 3)) == 0:
        position = data.draw(st.integers(0, len(text)))
        junk = data.draw(
            st.sampled_from(["", "\0", "\x1b[2J", "[" * 3000, '{"a":' * 2000, "NaN", "\ufeff", '"', ",", "\n", "9" * 6000])
        )
        return text[:position] + junk + text[position + data.draw(st.integers(0, 9)) :]
    if name == "metrics.csv":
        rows = data.draw(mutate([list(row) for row in csv.reader(io.StringIO(text))]))
        file = io.StringIO()
        for row in rows if isinstance(rows, list) else [rows]:
            print(",".join(map(str, row)) if isinstance(row, list) else row, file=file)
        return file.getvalue()
    original = yaml.safe_load(text) if name.endswith("yaml") else json.loads(text)
    content = data.draw(mutate(original))
    try:
        return yaml.safe_dump(content) if name.endswith("yaml") else json.dumps(content)
    except (yaml.YAMLError, ValueError):
        return repr(content)


TINY = ["trainer=cpu", "trainer.limit_batches=2", "trainer.max_epochs=1", "data=fashion_mnist_mini", "data.max_train_images=128"]
SMALL = {"resnet_small": ["model.width=4", "model.depth=8"], "vit_tiny": ["model.width=16", "model.depth=2"]}
SMALL["timm"] = ["model.architecture=test_vit"]
TINY += ["data.batch_size=16", "data.clean_subset=32", "data.num_workers=0", "logger=csv", "callbacks=none"]
TINY += ["trainer.precision=32-true", "trainer.memory_format=contiguous"]  # autotune would take longer than two steps


@pytest.mark.parametrize("size", SIZES)
def test_what_is_accepted_trains_two_steps(size: int, tmp_path: Path, capsys: Any) -> None:
    """Or is refused when the model is built, or fails with one line because its loss is not finite."""
    from regulo.config import compose
    from regulo.core.errors import InputError

    outcomes: collections.Counter[str] = collections.Counter()

    @fuzz_settings("trained", size)
    @given(st.lists(mild(), min_size=1, max_size=3).filter(_is_accepted))
    def each(overrides: list[str]) -> None:
        folder = tmp_path / f"run{outcomes.total()}"
        try:
            model = compose.load_config([*overrides, *TINY]).model.name
            overrides = [*overrides, *TINY, *SMALL.get(model, []), f"run_dir={folder}"]
            compose.load_config(overrides)
        except InputError:  # because of the overrides that make the run small
            outcomes["refused"] += 1
            return
        code, _, err = run_command(["train", *overrides])
        assert code in (0, 1, 2)
        assert len(err.splitlines()) <= 5, err
        outcomes[{0: "trained", 1: "failed by name", 2: "refused"}[code]] += 1

    each()
    with capsys.disabled():
        print(f"\nfuzzed: {outcomes.total():,} accepted configurations trained two steps: {dict(outcomes)}, 0 tracebacks")
    assert outcomes["trained"]


def _is_accepted(overrides: list[str]) -> bool:
    from regulo.config import compose
    from regulo.core.errors import InputError

    try:
        compose.load_config(overrides)
    except InputError:
        return False
    return True
