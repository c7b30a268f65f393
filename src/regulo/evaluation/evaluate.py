"""`regulo evaluate`: evaluate a finished run again, from its folder."""

import json

from regulo.evaluation.restore import open_run_data
from regulo.tracking.run_dir import SPLITS
from regulo.tracking.run_names import open_run


def evaluate(run: str, split: str | None, data_root: str | None = None) -> int:
    """Rebuild the model from the run folder and print its scores on a split, or on all splits. Returns the exit code.

    `data_root`: the folder in which the data are now.
    """
    folder = open_run(run)

    from regulo.core import failures
    from regulo.evaluation import summary
    from regulo.evaluation.restore import load_run

    run_model = load_run(folder, data_root)
    data = open_run_data(run_model)
    scores: dict[str, float] = {}
    with failures.as_input_error(run_model.config.data.batch_size):
        for name in [split] if split else SPLITS:
            split_scores = run_model.predict_loader(data.evaluation_loader(name)).scores()
            scores |= {f"{name}/{key}": value for key, value in split_scores.items()}
    summary.print_scores(scores, title=f"{folder.path.name}, weights of epoch {run_model.epoch}")
    print(json.dumps(scores))
    return 0
