"""A page as a W&B report: text, tables and commands as they are; the figures as images of a run.

A W&B report shows images from a URL or from a run, so publishing a page creates a small run of type "report" that holds them.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regulo.analysis.report import style
from regulo.analysis.report.html import MARKS
from regulo.analysis.report.page import Block, Bullets, Code, Figures, Gallery, Page, Photo, Picture, Table, TableCell, Text
from regulo.core.program import PROGRAM
from regulo.tracking.backends.wandb import wandb_settings
from regulo.tracking.servers import check_wandb_workspaces

MARKDOWN_ESCAPES = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>()#+|~"})


def preflight() -> None:
    """Raises InputError if W&B's reports are not installed, or if there is no account."""
    check_wandb_workspaces("--wandb")


def publish(page: Page, project: str = PROGRAM) -> str:
    """Log the figures to a run, save the report that shows them, and return its address. Call `preflight` first."""
    import wandb

    settings = wandb_settings(offline=False)
    with wandb.init(project=project, job_type="report", name=page.title[:100], settings=settings) as run:
        log_images(page, run)
    return str(build_report(page, run.entity, project, run.id).save().url)


def log_images(page: Page, run: Any) -> None:
    """Log every image of the page to a run, under the names by which `build_report` shows them."""
    import wandb
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        for number, (name, png, caption) in enumerate(list_images(page)):
            file = Path(folder) / f"{number}.png"
            file.write_bytes(png)
            with Image.open(file) as image:
                run.log({name: wandb.Image(image, caption=caption)})


def list_images(page: Page) -> Iterator[tuple[str, bytes, str]]:
    """(name, PNG, caption) of every image of the page, in order."""
    for section in page.sections:
        for block in section.blocks:
            if isinstance(block, Figures | Gallery):
                for name, image in image_names(section.title, block):
                    yield name, style.png(image.figure) if isinstance(image, Picture) else image.png, image.text


def image_names(title: str, block: Figures | Gallery) -> list[tuple[str, Picture | Photo]]:
    """(name, image) of each image of a block. title: that of the block's section."""
    if isinstance(block, Figures):
        return [(picture.name, picture) for picture in block.pictures]
    return [(f"{title} {number}", photo) for number, photo in enumerate(block.photos, 1)]


def build_report(page: Page, entity: str, project: str, run_id: str) -> Any:
    """The report as an object of W&B; nothing is sent before it is saved."""
    import wandb_workspaces.reports.v2 as wr

    runset = wr.Runset(entity=entity, project=project, filters=f"Metric('ID') == {run_id!r}")
    facts = [f"{fact.name}: {fact.value} {fact.note}".strip() for fact in page.facts]
    blocks: list[Any] = [wr.P(text=page.lead), *([wr.UnorderedList(items=facts)] if facts else [])]
    for section in page.sections:
        if section.blocks:
            blocks.append(wr.H2(text=section.title))
        blocks += [_wandb_block(block, section.title, runset) for block in section.blocks]
    blocks.append(wr.P(text=page.colophon))
    return wr.Report(entity=entity, project=project, title=page.title[:128], description=page.lead, blocks=blocks)


def _wandb_block(block: Block, title: str, runset: Any) -> Any:
    """A block as an object of W&B. title: that of the block's section."""
    import wandb_workspaces.reports.v2 as wr

    if isinstance(block, Text):
        return wr.P(text=block.text)
    if isinstance(block, Code):
        return wr.CodeBlock(code=block.text)
    if isinstance(block, Bullets):
        return wr.UnorderedList(items=list(block.items))
    if isinstance(block, Table):
        return wr.MarkdownBlock(text=markdown(block))
    panels = [wr.MediaBrowser(media_keys=[name]) for name, _ in image_names(title, block)]
    return wr.PanelGrid(runsets=[runset], panels=panels)


def markdown(table: Table) -> str:
    """A table as Markdown, every cell escaped."""
    rows = ["| " + " | ".join(map(_cell, row)) + " |" for row in ([TableCell(name) for name in table.header], *table.rows)]
    text = [rows[0], "|" + "---|" * len(table.header), *rows[1:]]
    return "\n".join([table.caption.translate(MARKDOWN_ESCAPES), "", *text])


def _cell(cell: TableCell) -> str:
    mark = f" {MARKS[cell.mark][0]}" if cell.mark else ""
    return f"{cell.text} {cell.note}".strip().translate(MARKDOWN_ESCAPES).replace("\n", " ") + mark
