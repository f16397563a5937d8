"""Findings of an audit: their kinds, the file that people decide in, the table on the terminal."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.durable import whole_file
from pipelines.results import print_table
from transfer.errors import InputError
from transfer.images.tables import IMAGE_COLUMNS, find_column, read_table

AUDIT = "audit.csv"
"""In a run's folder: a row per finding, with an empty column for decisions."""
BEFORE = "audit-before.csv"
"""The one before, where it holds decisions of what is found no more."""
KINDS = {
    "two labels": "the same picture under two labels",
    "leak": "the same picture in two splits",
    "group": "one group in two splits",
    "label": "a label that looks wrong",
    "copy": "the same picture twice",
    "kin": "the same picture twice, in one group",
    "outlier": "unlike all others",
    "blank": "blank",
    "dark": "very dark",
    "bright": "very bright",
    "blurred": "blurred",
    "tiny": "tiny",
    "odd size": "of an odd size",
}
"""What can be found of an image, and in words; what matters most comes first."""
COLUMNS = (
    *("id", "kind", "score", "others", "given", "suggested", "decision", "note"),
    *("split", "group"),
)
BETWEEN = " | "
"""Between ids in one cell."""
FEW = 3
"""Findings of each kind that are shown."""
DROP = "drop"


@dataclass(frozen=True)
class Finding:
    """One thing that is odd about one image.

    Attributes:
        row: Of the image, in the feature file.
        kind: One of `KINDS`.
        score: How odd, in the kind's own measure.
        note: What it is, in words, such as "mirrored".
        others: Rows of the images that it concerns as well.
        suggested: The class that it may belong to, or `DROP`, or nothing.
    """

    row: int
    kind: str
    score: float
    note: str
    others: tuple[int, ...] = ()
    suggested: str = ""


@dataclass(frozen=True, eq=False)
class Audited:
    """What findings are about.

    Attributes:
        ids: `(rows,)` str.
        classes: `(rows,)` str, the label of each.
        split: `(rows,)` str.
        groups: `(rows,)` str, or None.
    """

    ids: Sequence[str]
    classes: Sequence[str]
    split: Sequence[str]
    groups: Sequence[str] | None


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """By kind, what matters most first; within a kind as they come."""
    kinds = list(KINDS)
    return sorted(findings, key=lambda finding: kinds.index(finding.kind))


def write_findings(path: Path, findings: Sequence[Finding], audited: Audited) -> None:
    """Writes `audit.csv`; decisions that an earlier one holds of the same findings stay.

    Where it holds others, it is kept beside the new one, and that is said.
    """
    decided = _decisions(path)
    table = [COLUMNS]
    for finding in findings:
        id = audited.ids[finding.row]
        table.append(
            (
                id,
                finding.kind,
                f"{finding.score:.4g}",
                BETWEEN.join(audited.ids[other] for other in finding.others),
                audited.classes[finding.row],
                finding.suggested,
                decided.pop((id, finding.kind), ""),
                finding.note,
                audited.split[finding.row],
                "" if audited.groups is None else audited.groups[finding.row],
            )
        )
    if decided:
        path.replace(path.with_name(BEFORE))
        print(f"audit: {len(decided)} decisions are of what is found no more; see {BEFORE}")
    text = io.StringIO()
    csv.writer(text).writerows(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_bytes(text.getvalue().encode())


def _decisions(path: Path) -> dict[tuple[str, str], str]:
    if not path.exists():
        return {}
    return {(row.id, row.kind): row.decision for row in read_decisions(path)}


@dataclass(frozen=True)
class Decided:
    """A row of `audit.csv` in which somebody decided.

    Attributes:
        line: Of the file, from 1.
        id: Of the image.
        kind: What was found.
        suggested: The class that was suggested, or `DROP`, or nothing.
        decision: As it was written.
    """

    line: int
    id: str
    kind: str
    suggested: str
    decision: str


def read_decisions(path: Path) -> list[Decided]:
    """Reads the rows of an audit in which a decision stands.

    Raises:
        InputError: If the file cannot be read, or lacks the columns of an id or of decisions.
    """
    table = read_table(path)
    names = (IMAGE_COLUMNS, ("kind",), ("suggested",), ("decision",))
    columns = [find_column(table.header, name) for name in names]
    if columns[0] is None or columns[-1] is None:
        raise InputError(
            f"{path} expects columns id and decision, received "
            f"{', '.join(table.header) or 'none'}; "
            "edit the audit.csv that transfer audit writes"
        )
    rows = []
    for line, cells in zip(table.lines, table.rows, strict=True):
        values = ["" if at is None or at >= len(cells) else cells[at] for at in columns]
        if values[-1]:
            rows.append(Decided(line, *values))
    return rows


def show(findings: Sequence[Finding], audited: Audited) -> None:
    """Prints how many there are of each kind, and the first few."""
    rows: list[list[object]] = []
    for kind, words in KINDS.items():
        of_kind = [finding for finding in findings if finding.kind == kind]
        for number, finding in enumerate(of_kind[:FEW]):
            first = number == 0
            rows.append(
                [
                    words if first else "",
                    f"{len(of_kind):,}" if first else "",
                    audited.ids[finding.row],
                    _in_words(finding, audited),
                ]
            )
    if not rows:
        print(f"audit: nothing odd in {len(audited.ids):,} images")
        return
    title = f"What is odd in {len(audited.ids):,} images"
    print_table(title, ["found", "images", "first of them", "why"], rows)


def _in_words(finding: Finding, audited: Audited) -> str:
    if not finding.others:
        return finding.note
    other = audited.ids[finding.others[0]]
    more = f" and {len(finding.others) - 1} more" if len(finding.others) > 1 else ""
    return f"{finding.note} {other}{more}"
