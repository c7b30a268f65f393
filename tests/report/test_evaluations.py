"""The scores on other images, on the page of a run."""

from regulo.analysis.report.page import Table
from regulo.analysis.report.run_page import _other_scores
from regulo.tracking.records import EvaluationRecord


def test_the_page_has_a_row_for_each_evaluation_on_other_images() -> None:
    scores = {"data/acc": 0.5, "data/loss": 1.25}
    record = EvaluationRecord(data="~/other", images={"a": 1200, "b": 34}, notes=[], weights_epoch=3, scores=scores)
    (table,) = [block for block in _other_scores([record]) if isinstance(block, Table)]
    row = dict(zip(table.header, [cell.text for cell in table.rows[0]], strict=True))
    assert (row["images of"], row["images"], row["accuracy"], row["NLL, nats"], row["ECE"]) == (
        "~/other",
        "1,234",
        "0.5000",
        "1.2500",
        "–",
    )
    assert list(_other_scores([])) == []
