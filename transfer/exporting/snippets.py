"""Short programs beside an exported model, which use it with nothing but its runtime."""

from importlib.resources import files
from pathlib import Path
from string import Template

from transfer.exporting.formats import Format

_TEMPLATES = files("transfer.exporting") / "templates"


def write_snippets(of: Format, model: str, folder: Path) -> None:
    """Writes `use_<format>.py`, and for ONNX `use_onnx.md` about other languages.

    Args:
        of: The format.
        model: Name of the model's file in the same folder.
        folder: Where they go.
    """
    reading = (_TEMPLATES / "reading.py.txt").read_text(encoding="utf-8")
    for name in (f"use_{of.name}.py", f"use_{of.name}.md"):
        template = _TEMPLATES / f"{name}.txt"
        if template.is_file():
            text = Template(template.read_text(encoding="utf-8"))
            written = text.substitute(model=model, reading=reading.strip())
            (folder / name).write_text(written, encoding="utf-8")
