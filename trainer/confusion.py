"""The confusion matrix of a classification: which class was taken for which, as numbers and as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image, ImageDraw, ImageFont

from ckptop.store.files import write_durably
from ckptop.trainer.metrics import ConfusionCounts
from ckptop.trainer.task import Task

Counts = list[list[int]]
"""A row for each true class, a column for each predicted one."""

_CELL_PIXELS = 36
_SMALL_CELL_PIXELS = 8
_MOST_CLASSES_WITH_TEXT = 40
_DARK = (8, 48, 107)
_GAP_PIXELS = 6


def confusion_metric(task: Task[Any]) -> ConfusionCounts | None:
    """What counts the confusions of a task; None where it is no classification."""
    return ConfusionCounts(len(task.class_names)) if len(task.class_names) > 1 else None


def write_confusion(directory: Path, counts: Counts, names: Sequence[str], stem: str = "confusion_matrix") -> bytes:
    """Write `<stem>.json` and `<stem>.png`; returns the picture.

    Raises:
        OSError: The disk refused.
    """
    picture = draw_confusion(counts, names)
    directory.mkdir(exist_ok=True)
    numbers = {"classes": list(names), "rows": "true class", "columns": "predicted class", "counts": counts}
    write_durably(directory / f"{stem}.json", msgspec.json.encode(numbers) + b"\n")
    write_durably(directory / f"{stem}.png", picture)
    return picture


def worst_confusion(counts: Counts, names: Sequence[str]) -> str:
    """The most frequent mistake, in words."""
    number, true, taken = max(
        (counts[true][taken], true, taken) for true in range(len(names)) for taken in range(len(names)) if true != taken
    )
    times = f"{number} time{'s' * (number != 1)}"
    return f"{names[true]} was taken for {names[taken]} ({times})" if number else "no mistake at all"


def draw_confusion(counts: Counts, names: Sequence[str]) -> bytes:
    """A PNG: a cell is as dark as its share of the true class, and holds its count while there is room."""
    has_text = len(names) <= _MOST_CLASSES_WITH_TEXT
    cell = _CELL_PIXELS if has_text else _SMALL_CELL_PIXELS
    font = ImageFont.load_default(12)
    label = int(max(font.getlength(name) for name in names)) + 2 * _GAP_PIXELS if has_text else _GAP_PIXELS
    head = 24
    side = cell * len(names)
    image = Image.new("RGB", (label + side + _GAP_PIXELS, head + side + label), "white")
    draw = ImageDraw.Draw(image)
    draw.text((_GAP_PIXELS, _GAP_PIXELS), "rows: true, columns: predicted", "black", font)
    for row, line in enumerate(counts):
        y = head + row * cell
        for column, number in enumerate(line):
            share = number / max(1, sum(line))
            colour = tuple(round(255 + share * (dark - 255)) for dark in _DARK)
            x = label + column * cell
            draw.rectangle((x, y, x + cell - 1, y + cell - 1), fill=colour, outline=(220, 220, 220))
            if has_text and number:
                ink = "white" if share > 0.5 else "black"
                draw.text((x + cell / 2, y + cell / 2), str(number), ink, font, anchor="mm")
    if has_text:
        _label(image, draw, names, font, label, head, cell)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _label(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    names: Sequence[str],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    label: int,
    head: int,
    cell: int,
) -> None:
    """Names beside the rows and, turned where they are long, below the columns."""
    bottom = head + cell * len(names)
    for place, name in enumerate(names):
        middle = (place + 0.5) * cell
        draw.text((label - _GAP_PIXELS, head + middle), name, "black", font, anchor="rm")
        if font.getlength(name) < cell:
            draw.text((label + middle, bottom + _GAP_PIXELS), name, "black", font, anchor="ma")
            continue
        turned = Image.new("RGB", (label, cell), "white")
        ImageDraw.Draw(turned).text((label - _GAP_PIXELS, cell / 2), name, "black", font, anchor="rm")
        image.paste(turned.rotate(90, expand=True), (label + place * cell, bottom))
