"""Whatever is written on the command line or in a saved configuration is accepted, or refused by name: never a traceback."""

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

from tests.safety.command_lines import commands, mild, mutated
from tests.safety.conftest import Started, answer

SHORT, LONG = 0, 1
COUNTS = {"commands": (200, 20_000), "configs": (250, 4_000), "files": (40, 1000), "trained": (5, 100)}
"""examples in `make test` and in `make test-long`"""
SIZES = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def tried(kind: str, size: int) -> Any:
    """So many examples: in `make test` always the same, in `make test-long` new ones."""
    return settings(
        max_examples=COUNTS[kind][size],
        phases=[Phase.generate],  # an example that fails is short as it is
        deadline=None,
        derandomize=size == SHORT,
        database=None,
        suppress_health_check=QUIET,
    )


class Tally:
    """What came of each example."""

    def __init__(self) -> None:
        self.seen: collections.Counter[str] = collections.Counter()

    def run(self, arguments: list[str]) -> str:
        """Run a command; it ends well, is refused by name, or would start its work."""
        try:
            code, _, err = answer(arguments)
        except Started:
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
        self.seen[outcome] += 1
        return outcome

    def tell(self, what: str) -> None:
        """Print the counts; both kinds must have occurred, or nothing was shown."""
        print(f"\nfuzzed: {self.seen.total():,} {what}: {dict(self.seen)}, 0 tracebacks")
        assert self.seen["refused"]


@pytest.mark.parametrize("size", SIZES)
def test_every_command_line_is_accepted_or_refused_by_name(size: int, stopped: None, capsys: Any) -> None:
    tally = Tally()

    @tried("commands", size)
    @given(commands())
    def each(arguments: list[str]) -> None:
        tally.run(arguments)

    each()
    with capsys.disabled():
        tally.tell("command lines")
    assert tally.seen["accepted"]


@pytest.mark.parametrize("size", SIZES)
def test_every_saved_configuration_is_accepted_or_refused_by_name(size: int, run_copy: Path, stopped: None, capsys: Any) -> None:
    tally = Tally()
    saved = yaml.safe_load((run_copy / "config.yaml").read_text())

    @tried("configs", size)
    @given(mutated(saved), st.sampled_from([["evaluate"], ["predict"], ["doctor"]]))
    def each(content: Any, command: list[str]) -> None:
        try:
            text = yaml.safe_dump(content, allow_unicode=True)
        except (yaml.YAMLError, UnicodeError, ValueError):
            text = repr(content)
        (run_copy / "config.yaml").write_text(text, errors="replace")
        tally.run([*command, str(run_copy), *([str(run_copy / "figures")] if command == ["predict"] else [])])

    each()
    with capsys.disabled():
        tally.tell("saved configurations")


FILES = ["result.json", "plan.json", "measures.json", "calibration.json", "metrics.csv", "config.yaml"]


@pytest.mark.parametrize("size", SIZES)
def test_every_file_of_a_run_is_read_or_refused_by_name(
    size: int, run_copy: Path, remembered: None, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from regulo.analysis.doctor import examination
    from regulo.analysis.doctor.base import RunCase
    from regulo.analysis.report import predictions

    monkeypatch.setattr(
        predictions, "predict_again", lambda folder: "not here"
    )  # which builds the model: done for the checkpoints
    monkeypatch.setattr(examination, "run_rules", lambda case: [])
    monkeypatch.setattr(RunCase, "of", lambda config: config)
    (run_copy / "measures.json").write_text(json.dumps({"temperature": 1.1, "test/ece_scaled": 0.1}))
    (run_copy / "calibration.json").write_text(json.dumps({"temperature": 1.1}))
    whole = {name: (run_copy / name).read_text() for name in FILES}
    tally = Tally()

    @tried("files", size)
    @given(st.data(), st.sampled_from(FILES), st.sampled_from(["report", "doctor", "doctor", "doctor"]))
    def each(data: st.DataObject, name: str, command: str) -> None:
        (run_copy / name).write_text(_spoilt(data, name, whole[name]), errors="replace")
        tally.run([command, str(run_copy)])
        (run_copy / name).write_text(whole[name])

    each()
    with capsys.disabled():
        tally.tell("files of a run")


@pytest.mark.parametrize("size", SIZES)
def test_every_study_is_shown_or_refused_by_name(size: int, tmp_path: Path, capsys: Any) -> None:
    from tests.report import studies

    told = json.loads((studies.make(tmp_path) / "study.json").read_text())
    tally = Tally()

    @tried("files", size)
    @given(mutated(told))
    def each(content: Any) -> None:
        (tmp_path / "study.json").write_text(json.dumps(content), errors="replace")
        tally.run(["report", str(tmp_path)])

    each()
    with capsys.disabled():
        tally.tell("studies")


def _spoilt(data: st.DataObject, name: str, text: str) -> str:
    """The file's text with some of its content, or of its characters, changed."""
    if data.draw(st.integers(0, 3)) == 0:
        place = data.draw(st.integers(0, len(text)))
        junk = data.draw(
            st.sampled_from(["", "\0", "\x1b[2J", "[" * 3000, '{"a":' * 2000, "NaN", "\ufeff", '"', ",", "\n", "9" * 6000])
        )
        return text[:place] + junk + text[place + data.draw(st.integers(0, 9)) :]
    if name == "metrics.csv":
        rows = data.draw(mutated([list(row) for row in csv.reader(io.StringIO(text))]))
        file = io.StringIO()
        for row in rows if isinstance(rows, list) else [rows]:
            print(",".join(map(str, row)) if isinstance(row, list) else row, file=file)
        return file.getvalue()
    loaded = yaml.safe_load(text) if name.endswith("yaml") else json.loads(text)
    content = data.draw(mutated(loaded))
    try:
        return yaml.safe_dump(content) if name.endswith("yaml") else json.dumps(content)
    except (yaml.YAMLError, ValueError):
        return repr(content)


TINY = ["trainer=cpu", "trainer.limit_batches=2", "trainer.max_epochs=1", "data=fashion_mnist_mini", "data.max_train_images=128"]
SMALL = {"resnet_small": ["model.width=4", "model.depth=8"], "vit_tiny": ["model.width=16", "model.depth=2"], "torchvision": []}
TINY += ["data.batch_size=16", "data.clean_subset=32", "data.num_workers=0", "logger=csv", "callbacks=none"]
TINY += ["trainer.precision=32-true", "trainer.memory_format=contiguous"]  # measuring them takes longer than two steps


@pytest.mark.parametrize("size", SIZES)
def test_what_is_accepted_trains_two_steps(size: int, tmp_path: Path, capsys: Any) -> None:
    """Or is refused once the model is built, or fails in one line because its loss is not finite."""
    from regulo.config import compose
    from regulo.core.errors import InputError

    seen: collections.Counter[str] = collections.Counter()

    @tried("trained", size)
    @given(st.lists(mild(), min_size=1, max_size=3).filter(_accepted))
    def each(words: list[str]) -> None:
        folder = tmp_path / f"run{seen.total()}"
        try:
            chosen = compose.load_config([*words, *TINY])
            words = [*words, *TINY, *SMALL[chosen.model.name], f"run_dir={folder}"]
            compose.load_config(words)
        except InputError:  # together with what makes it small
            seen["refused"] += 1
            return
        code, _, err = answer(["train", *words])
        assert code in (0, 1, 2)
        assert len(err.splitlines()) <= 5, err
        seen[{0: "trained", 1: "failed by name", 2: "refused"}[code]] += 1

    each()
    with capsys.disabled():
        print(f"\nfuzzed: {seen.total():,} accepted configurations trained two steps: {dict(seen)}, 0 tracebacks")
    assert seen["trained"]


def _accepted(words: list[str]) -> bool:
    from regulo.config import compose
    from regulo.core.errors import InputError

    try:
        compose.load_config(words)
    except InputError:
        return False
    return True
