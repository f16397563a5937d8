"""Charts inside a page: the pictures that stages draw, as SVG in a data URI.

They are matplotlib's, as all pictures here, and no program in the page draws them: so a chart looks
as it does in the run's folder, prints, and needs no library that would have to be shipped and kept.
As a picture of its own each keeps its names and colours apart from the page's.
"""

import base64
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Chart:
    """A chart with what it says.

    Attributes:
        uri: The picture.
        alt: What is to be seen, for those who do not see it.
        drawn: Whether it is lines on white, whose lightness a dark page may turn round.
    """

    uri: str
    alt: str
    drawn: bool = True


def chart(plot: Callable[..., Path], *values: Any, alt: str, **options: Any) -> Chart:
    """Draws one.

    Args:
        plot: One of `transfer.pictures`.
        values: What it takes before the path.
        alt: What is to be seen.
        options: What else it takes.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chart.svg"
        plot(*values, path=path, **options)
        return Chart(_uri(path.read_bytes(), "svg+xml"), alt)


def picture(path: Path, alt: str) -> Chart | None:
    """A picture that a stage left; None if there is none."""
    if not path.is_file():
        return None
    return Chart(_uri(path.read_bytes(), path.suffix.lstrip(".")), alt)


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
