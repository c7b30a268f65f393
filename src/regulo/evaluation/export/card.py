"""The model card beside an exported file: what it was trained on, how good it is, how to use it, and its limits."""

import datetime
import json
from collections.abc import Iterable, Sequence

import torch

from regulo import __version__
from regulo.core.metrics.base import list_metrics
from regulo.evaluation.export.formats import FORMATS
from regulo.evaluation.export.graph import INPUT, OUTPUT
from regulo.evaluation.export.parity import Parity
from regulo.evaluation.restore import LoadedRun
from regulo.tracking import records
from regulo.tracking.run_dir import SPLITS

LIMITS = """\
- It knows these classes only, and gives one of them to any picture.
- Scores and parity were measured on the test images of the run. Other pictures may be harder: `regulo evaluate RUN --data FOLDER`
  scores any labeled folder.
- Reading the file is up to you: turn the picture upright (EXIF), put transparent ones on white, give {channels}. `regulo predict`
  does this by itself. Decoders of JPEG differ by a level or two.{deep}
- An image more than 16 times as long as wide is cropped to its middle.
- It computes in float32; it was compared on a CPU.
"""


def model_card(run: LoadedRun, format: str, file: str, parity: Parity) -> str:
    """The text of the card, in Markdown. Raises InputError if a file of the run is not what Regulo writes."""
    info, config = run.dataset_info, run.config
    record, result = records.read_data_record(run.folder), records.read_result(run.folder)
    metrics = list_metrics()
    scores = [
        [split, *("–" if (score := result.get(f"{split}/{m.name}")) is None else f"{score:.4f}" for m in metrics)]
        for split in SPLITS
    ]
    counts = "; ".join(f"{name} {sum(n):,}" for name, n in record.images.items()) if record else "not recorded"
    plan = [[row["technique"], row["hook"], row["strength"], row["source"]] for row in records.read_plan(run.folder)]
    color = "gray" if info.channels == 1 else "RGB"
    deep = (
        "\n- More than 8 bits per channel: scale {} to {} to 0 to 255 first.".format(*info.pixel_range)
        if info.pixel_range
        else ""
    )
    limits = LIMITS.format(channels=f"{color} of 8 bits", deep=deep)
    temperature = f"; logits divided by the temperature {run.temperature:.4f}" if run.temperature != 1 else ""
    mode, axes = ("L", "None, ..., None") if info.channels == 1 else ("RGB", "None")
    pixels = f'numpy.array(Image.open("photo.jpg").convert("{mode}"))[{axes}]'
    return f"""\
# {config.model.name} for {info.num_classes} classes

`{file}` ({FORMATS[format].title}) was exported on {datetime.date.today()} from the run `{run.folder.path.name}`.

## Use

```python
{FORMATS[format].usage.format(file=file, pixels=pixels)}
```

- Input `{INPUT}`: uint8 (N, H, W, {info.channels}), {color}; N, H and W are free, and all images of a batch have one size.
- Output `{OUTPUT}`: float32 (N, {info.num_classes}); each row sums to 1.
- Inside: resizing to {info.height} × {info.width} as in the evaluation of the run, normalization, the network{temperature}.

Classes, in the order of the output:

```json
{json.dumps(info.classes, ensure_ascii=False)}
```

## Data

{record.source if record else config.data.name}. Images: {counts}.

## Scores

The weights of epoch {run.epoch}; seed {config.run.seed}, one run.

{_table(["split", *(metric.heading for metric in metrics)], scores)}

## Parity with the run

{_table(["measure", "value"], parity.rows())}

## Regularization

{_table(["technique", "hook", "strength", "source"], plan) if plan else "None but what the architecture brings."}

## Limits

{limits}
## Versions

Regulo {__version__}, torch {torch.__version__}. Trained with: {_enumerate(records.read_environment(run.folder).items())}.
"""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _enumerate(items: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{name} {value}" for name, value in items)
