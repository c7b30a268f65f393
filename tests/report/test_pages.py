"""The content of the pages: numbers against closed forms, commands that repeat a run, and reports of what is missing."""

import json
import re
import shutil
import subprocess
import time
import tracemalloc
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from scipy import stats

from regulo.__main__ import main
from regulo.analysis.report import html, repeat, run_figures, run_page, study_content, study_page, style
from regulo.analysis.report.command import report
from regulo.analysis.report.page import Figures, Page, Table
from regulo.analysis.study_record import Column, Difference
from regulo.callbacks.mistakes import worst
from regulo.config import compose
from regulo.core.errors import InputError
from regulo.core.metrics.base import EvalOutput
from regulo.tracking.records import parse_metrics
from regulo.tracking.run_dir import RunFolder
from tests.conftest import environment_outside_make, metrics_of
from tests.report import studies

# ---- a run


def random_output(n: int = 500, k: int = 5, seed: int = 0) -> EvalOutput:
    g = torch.Generator().manual_seed(seed)
    return EvalOutput(3 * torch.randn(n, k, generator=g), torch.randint(k, (n,), generator=g))


def test_the_calibration_diagram_shows_the_expected_calibration_error() -> None:
    test = random_output()
    confidence, accuracy, count = run_figures.reliability(test)
    assert count.sum() == 500
    ece = float((count * abs(confidence - accuracy)).sum() / count.sum())
    assert ece == pytest.approx(test.scores()["ece"], abs=1e-6)


def test_its_intervals_are_wilsons() -> None:
    n, correct = np.array([4, 7, 10]), np.array([0, 3, 10])
    low, high = run_figures.wilson_interval(correct, n)
    z, p = stats.norm.isf(0.025), correct / n
    for limit in (low, high):  # where the share lies z standard errors of the limit away from it
        assert abs(p - limit) == pytest.approx(z * np.sqrt(limit * (1 - limit) / n), abs=1e-9)
    assert (low <= p).all()
    assert (p <= high).all()


def test_the_most_frequent_mistakes_are_those_off_the_diagonal() -> None:
    logits = torch.eye(3)[[0, 1, 1, 1, 2, 0]]
    test = EvalOutput(logits, torch.tensor([0, 0, 0, 1, 1, 2]))
    assert run_figures.top_confusions(test, "abc") == [
        ("a", "b", 2, pytest.approx(2 / 3)),
        ("b", "c", 1, 0.5),
        ("c", "a", 1, 1.0),
    ]
    perfect = EvalOutput(torch.eye(3), torch.arange(3))
    assert run_figures.top_confusions(perfect, "abc") == []
    assert worst(perfect, 4) == []


def test_curves_leave_out_what_is_not_finite() -> None:
    rows = [{"epoch": "0", "val/loss": "1.5"}, {"epoch": "1", "val/loss": "nan"}, {"epoch": "", "val/loss": "9"}]
    assert run_figures.read_curves(metrics_of(rows), None).points("val/loss") == ([1], [1.5])


def test_of_very_many_points_a_figure_shows_the_extremes_and_a_table_some() -> None:
    n = 50_000
    first, second = np.zeros(n), np.ones(n)
    first[12_345], second[33_333] = -5, 7
    drawn = run_figures.thin([first, second])
    assert len(drawn) <= run_figures.MAX_POINTS + 2
    assert {0, 12_345, 33_333, n - 1} <= set(drawn.tolist())
    assert run_figures.thin([first[:7]]).tolist() == list(range(7))
    table = run_page._epoch_table({"val/loss": (np.arange(1, n + 1), first), "lr": (np.arange(1, n), second[1:])})
    assert len(table.rows) <= run_page.MAX_ROWS + 1
    assert [cell.text for cell in table.rows[-1]] == ["50000", "0", "–"]
    assert "every 50th of 50,000" in table.caption


def test_a_metrics_csv_of_200_000_rows_is_read_about_as_fast_as_its_numbers_and_in_little_memory() -> None:
    header = "epoch,gap/acc,lr,step,train/acc,train/loss,train_clean/loss,val/acc,val/loss\n"
    text = header + "".join(
        f"{i // 2},0.1,,{i},,,1.5,0.5,1.{i}\n" if i % 2 else f"{i // 2},,0.1,{i},0.123456,0.12345678,,,\n" for i in range(200_000)
    )
    start = time.process_time()
    numbers = [[float(cell) for cell in line.split(",") if cell] for line in text.splitlines()[1:]]
    middle = time.process_time()
    metrics = parse_metrics(text, "metrics.csv")
    curves = run_figures.read_curves(metrics, None)
    assert time.process_time() - middle < 3 * (middle - start)
    assert sum(map(len, numbers)) == sum(len(metrics.values(key)) for key in header.strip().split(","))
    assert metrics.num_rows == 200_000
    assert metrics.values("val/loss")[-1] == 1.199999
    assert len(curves.by_epoch["val/loss"][0]) == 100_000
    tracemalloc.start()
    parse_metrics("".join(text.partition("20000,")[:1]), "metrics.csv")  # a fifth, because tracing takes most of the time
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()


def blocks(page: Page, section: str) -> list[Any]:
    return [b for s in page.sections if s.title == section for b in s.blocks]


def test_the_page_of_a_run_has_its_numbers_and_says_n(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    page = run_page.build(RunFolder.open(run))
    assert page.facts[0].value == f"{100 * result['test/acc']:.2f}%"
    learning, _ = blocks(page, "Learning")
    assert [p.name for p in learning.pictures] == ["accuracy", "loss", "gap", "rate"]
    [figures, *_] = blocks(page, "Predictions on the test images")
    sizes = {c.text for t in blocks(page, "Scores") for row in t.rows for c in row[1:2]}
    assert all(any(size in p.text for size in sizes) for p in figures.pictures)
    assert blocks(page, "What the network saw")
    assert blocks(page, "Worst mistakes")
    assert blocks(page, "Verdict")


def test_without_its_data_or_its_end_a_run_still_has_a_page_that_says_so(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(re.sub(r"root: .*", "root: nowhere", text))
    (copy / "report.html").unlink()
    file = html.save(run_page.build(RunFolder.open(copy)), copy / "report.html")
    assert "the test images cannot be scored here" in file.read_text()
    (copy / "result.json").write_text(json.dumps({"status": "failed", "seed": 0, "error": "the loss is <b>nan</b>"}))
    (copy / "metrics.csv").unlink()
    text = html.save(run_page.build(RunFolder.open(copy)), copy / "report.html").read_text()
    assert "This run is failed: the loss is &lt;b&gt;nan&lt;/b&gt;." in text
    assert "No epoch was logged." in text


# ---- the command that repeats it

RUNS = (
    [],
    ["seed=3", "optim.lr=0.05", "regularizer.mixup.alpha=0.4"],
    ["model=vit_tiny", "strength=2", "trainer.max_epochs=7"],
    ["regularizer=none", "callbacks=none", "logger=csv"],
    ["+regularizer=ema", "~regularizer.cutmix", "regularizer.dropout.fc={start:0,end:0.5}"],
    ["data=image_folder", "data.root='/a b/$HOME/it`s, \"so\"'", "optim=adamw", "logger.tags=[a,b]"],
    ["~callbacks.samples", "experiment=small_data_vit"],
)


@pytest.mark.parametrize("overrides", RUNS, ids=" ".join)
def test_the_command_makes_the_same_configuration_after_make_and_the_shell(overrides: list[str], tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text('train:\n\t@python3 -c "import json, sys; print(json.dumps(sys.argv[1:]))" $(ARGS)\n')
    config = compose.load_config([*overrides, "run_dir=somewhere"]).as_dict()
    command = repeat.command(config)
    environment = environment_outside_make()
    output = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert compose.load_config(json.loads(output.stdout)).as_dict() == config | {"run_dir": None}
    assert overrides or command == "make train"


# ---- a study


def test_the_page_of_a_study_names_what_helped_what_failed_and_what_is_stale(tmp_path: Path) -> None:
    page = study_page.build(studies.make(tmp_path / "study"))
    study = study_content.read(tmp_path / "study")
    verdicts, explanation = blocks(page, "What helped")
    better = next(item for item in verdicts.items if item.startswith("Significantly better"))
    assert better.index("augment") < better.index("mixup"), "the largest first"
    d = next(row for row in study.rows if row.label == "augment").difference["test/acc"]
    assert f"augment {100 * d.mean:+.2f} [{100 * d.low:+.2f}, {100 * d.high:+.2f}]" in better.replace("−", "-")  # type: ignore[operator]
    assert "n = 2 to 3 seeds" in explanation.text
    items = [item for block in blocks(page, "Left out") for item in getattr(block, "items", ())]
    assert items == ["cutmix-s2-00000006: non-finite loss at step 12", "mixup-s0-0badcafe"]
    pictures = [p for s in page.sections for b in s.blocks if isinstance(b, Figures) for p in b.pictures]
    assert {"effect-test-acc", "runs", "gap-accuracy", "benefit", "corruptions"} <= {p.name for p in pictures}
    assert all("n = " in p.text for p in pictures)
    assert len({p.name for p in pictures}) == len(pictures), "names are ids"
    table = next(b for b in blocks(page, "All numbers") if isinstance(b, Table))
    assert [row[0].text for row in table.rows] == list(studies.EFFECTS)
    assert table.rows[-1][0].note == "1 failed"


def test_strengths_are_drawn_only_for_their_design_and_pairs_have_their_interactions(strengths: Path, one_seed: Path) -> None:
    assert blocks(study_page.build(strengths), "By strength")
    page = study_page.build(one_seed)
    assert not blocks(page, "By strength")
    assert any("Interactions" in b.caption for b in blocks(page, "All numbers"))
    assert "Without intervals, no difference is significant" in blocks(page, "What helped")[1].text


@pytest.mark.parametrize(
    ("mean", "low", "better", "mark"),
    [
        (1, 0.5, "high", "better"),
        (1, 0.5, "low", "worse"),
        (-1, -1.5, "low", "better"),
        (1, 0.5, "none", "differs"),
        (1, -0.5, "high", ""),
        (1, None, "high", ""),
    ],
)
def test_a_mark_says_whether_a_significant_difference_is_good(
    mean: float, low: float | None, better: Literal["high", "low", "none"], mark: str
) -> None:
    difference = Difference(3, mean, low, None if low is None else 2 * mean - low)
    assert difference.mark(Column("k", "k", "", better, 1, 2)) == mark


# ---- style


def test_numbers_can_be_read_on_cells_of_any_strength() -> None:
    def luminance(color: np.ndarray) -> float:
        linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    for mode in (0, 1):
        ink, paper, cell = (
            np.array([int(style.PALETTE[name][mode][i : i + 2], 16) / 255 for i in (1, 3, 5)])
            for name in ("ink", "paper", "cell")
        )
        for alpha in np.linspace(0, 1, 21):
            low, high = sorted((luminance(ink), luminance(alpha * cell + (1 - alpha) * paper)))
            assert (high + 0.05) / (low + 0.05) >= 4.5


def test_two_drawings_of_a_figure_are_the_same_and_share_no_id_with_another(tmp_path: Path) -> None:
    def render(name: str) -> str:
        with style.figure_style():
            ax = style.axes(2)
            ax.plot([0, 1], [0, 1], color=style.LIGHT["blue"], label="$\\frac$")
            ax.set_title("$\\frac$ <b> & 日本")
            return style.svg(ax.figure, name, 'a "title" <b>', "what it shows")

    one, again, other = render("one"), render("one"), render("other")
    assert one == again
    assert not set(re.findall(r' id="([^"]+)"', one)) & set(re.findall(r' id="([^"]+)"', other))
    assert "var(--blue)" in one
    assert style.LIGHT["blue"] not in one
    assert "<b>" not in one


# ---- the command


def test_the_command_refuses_what_is_neither_run_nor_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", "nowhere"]) == 2
    assert main(["report"]) == 2
    assert main(["report", "--wanbd"]) == 2
    errors = capsys.readouterr().err
    assert "there is no folder and no run below runs/ with the name 'nowhere'" in errors
    assert "there is no run to report on yet" in errors
    assert "did you mean --wandb?" in errors
    (tmp_path / "study.json").write_text("{")
    assert main(["report", "."]) == 2


def test_without_names_the_latest_run_is_reported(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    shutil.copytree(run, tmp_path / "runs" / "it")
    monkeypatch.chdir(tmp_path)
    assert report([], wandb=False) == 0
    assert Path(capsys.readouterr().out.strip()).resolve() == tmp_path / "runs" / "it" / "report.html"


# ---- W&B


class FakeRun:
    """A W&B run that only stores its images."""

    def __init__(self) -> None:
        self.images: dict[str, Any] = {}

    def log(self, images: dict[str, Any]) -> None:
        self.images |= {name: image.image for name, image in images.items()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of wandb-workspaces' own models
def test_the_same_content_is_a_report_on_wandb(run: Path, one_seed: Path) -> None:
    wr = pytest.importorskip("wandb_workspaces.reports.v2", reason="wandb-workspaces is not installed")
    from regulo.analysis.report import wandb_report

    for page in (run_page.build(RunFolder.open(run)), study_page.build(one_seed)):
        wandb_page = wandb_report.build_report(page, "somebody", "regulo", "a run")
        assert wandb_page.title == page.title
        text = [b.text for b in wandb_page.blocks if isinstance(b, wr.MarkdownBlock)]
        assert len(text) == sum(isinstance(b, Table) for s in page.sections for b in s.blocks)
        keys = [key for b in wandb_page.blocks if isinstance(b, wr.PanelGrid) for p in b.panels for key in p.media_keys]
        fake_run = FakeRun()
        wandb_report.log_images(page, fake_run)
        assert keys == list(fake_run.images)
        assert all(image.width > 10 for image in fake_run.images.values())
    assert "| a \\+ b |" in text[0], "cells are escaped"


@pytest.mark.parametrize("record", ["crossval.json", "tune.json"])
def test_a_page_that_another_command_has_written_is_named(
    record: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / record).write_text("{}")
    assert main(["report", str(tmp_path)]) == 2
    assert f"its page was written with its results — open {tmp_path / 'report.html'}" in capsys.readouterr().err


def test_without_an_account_wandb_is_refused_before_anything_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is not installed")
    from regulo.analysis.report import wandb_report

    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(InputError, match="there is no API key"):
        wandb_report.preflight()
