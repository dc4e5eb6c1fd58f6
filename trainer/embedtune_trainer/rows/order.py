"""Which of two columns holds the images, where no header says so."""

from dataclasses import replace
from itertools import islice

from embedtune_trainer.errors import BadData, TrainerError
from embedtune_trainer.rows.images import ImageReader
from embedtune_trainer.rows.layout import Column, Layout
from embedtune_trainer.rows.records import Stream


def in_order(
    layout: Layout, stream: Stream, source: str, images: ImageReader, limit: int | None
) -> Layout:
    """The layout with the text first: images are in the column that has more of what names one.

    Args:
        layout: of two columns.
        stream: the file, opened for this alone and with a Faults that skips: what is wrong with
            its rows is told when they are read.
        source: what messages call the file.
        images: knows what names an image.
        limit: most rows that are looked at.

    Raises:
        BadData: both have as many.
    """
    counts = [0, 0]
    rows = 0
    error: TrainerError | None = None
    try:
        for cells, _, _ in islice(stream.records([column.at for column in layout.items]), limit):
            rows += 1
            for number, cell in enumerate(cells):
                counts[number] += images.looks_like_image(cell)
    except TrainerError as caught:
        error = caught  # comes again when the rows are read, behind what is wrong before it
    first, second = counts
    if first == second:
        raise error or BadData(
            f"{source}: cannot tell which column is the image: in {first} of {rows} rows the"
            " first cell names one, in as many the second; add a header text,image"
        )
    items = layout.items[::-1] if first > second else layout.items
    named = zip(items, ("text", "image"), strict=True)
    items = tuple(Column(column.at, f"{column.name} ({name})") for column, name in named)
    return replace(layout, items=items, ordered=True)
