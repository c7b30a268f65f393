"""Measures of a finished run: against the regularizer that does the same in a run, and against predictions made by hand."""

from typing import Any

import numpy as np
import pytest
import torch

from regulo.data.components.subsets import fixed_subset
from regulo.evaluation import robustness
from regulo.evaluation.corruptions import KINDS, SEVERITIES, corrupt
from regulo.evaluation.restore import load_run, open_run_data
from regulo.tracking import records
from regulo.tracking.run_dir import RunFolder


def test_a_run_is_measured_from_its_folder_alone(run: Any) -> None:
    folder = RunFolder(run("regularizer=none")[0])
    measures = robustness.measure_robustness(folder)
    assert records.read_measures(folder) == measures
    keys = {f"corrupted/{kind}/{severity}/acc" for kind in KINDS for severity in SEVERITIES}
    assert set(measures) == {"temperature", "test/ece_scaled", "corrupted/acc", *keys}
    assert measures["corrupted/acc"] == pytest.approx(np.mean([measures[key] for key in keys]))

    run_model = load_run(folder)
    split = open_run_data(run_model).eval_datasets["test"].split
    indices = np.concatenate(np.array_split(fixed_subset(5000, robustness.IMAGES), 16)[:2])  # debug=fast: two batches of ≤ 64
    for kind, severity in (("noise", 3), ("rotation", 1), ("contrast", 2)):
        images = np.stack([corrupt(split.images[i], kind, severity, int(i)) for i in indices])
        with torch.inference_mode():
            predictions = run_model.predict_logits(torch.from_numpy(images).permute(0, 3, 1, 2)).argmax(1).numpy()
        assert measures[f"corrupted/{kind}/{severity}/acc"] == pytest.approx((predictions == split.labels[indices]).mean())

    plain = robustness.measure_robustness(folder, corruptions=False)
    assert plain == {key: measures[key] for key in ("temperature", "test/ece_scaled")}
    run_folder, result = run("regularizer=temperature_scaling", name="scaled")
    assert plain == pytest.approx({"temperature": result["temperature"], "test/ece_scaled": result["test/ece"]})
    again = robustness.measure_robustness(RunFolder(run_folder), corruptions=False)
    assert again == pytest.approx(plain), "what a run has scaled itself is not scaled twice"
