"""Templates joined with what they show into one file that asks nothing of a network."""

import time
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from pipelines.pages.thumbnails import Thumbnails

FRAME = "pipelines.pages"
"""The package with the templates that all pages share."""


def render(
    stage: str,
    package: str,
    template: str,
    thumbnails: Thumbnails,
    on_demand: Mapping[int, str],
    **values: Any,
) -> str:
    """Makes a page.

    Args:
        stage: That writes it.
        package: In whose folder `templates` the page's own lie.
        template: The page's, which extends `frame.html`.
        thumbnails: Made already.
        on_demand: Ids of images by their row that the page's program shows when it is asked to.
        values: What the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in (package, FRAME)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "picture": thumbnails.uri,
        "style": _file("style.css"),
        "script": _file("script.js"),
        "stage": stage,
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "on_demand": {row: [thumbnails.uri(row), id] for row, id in on_demand.items()},
    }
    return environment.get_template(template).render(values)


def _file(name: str) -> Markup:
    return Markup((files(FRAME) / "templates" / name).read_text(encoding="utf-8"))
