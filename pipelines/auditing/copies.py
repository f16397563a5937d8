"""The same picture twice: under two labels, in two splits, or to no use; groups in two splits."""

from collections.abc import Mapping, Sequence

import numpy as np

from pipelines.auditing.findings import DROP, Audited, Finding
from transfer.auditing.duplicates import Twins, clusters

KEPT_FIRST = ("test", "val", "train")
"""Of a picture in several splits the one that judges is kept, so that scores stay comparable."""


def copies(
    twins: Twins, audited: Audited, pixels: Sequence[int], likeliest: Mapping[int, str]
) -> list[Finding]:
    """A finding per image that shows the same as another, but for the one to keep.

    Where labels differ, none can be kept before somebody has looked, and each is a finding.

    Args:
        twins: Pairs of images.
        audited: All of them.
        pixels: `(rows,)` of each image; of copies in one split the largest is kept.
        likeliest: By row the class that heads which had not seen the image find likeliest.
    """
    nearest = _nearest(twins)
    found = []
    for members in clusters(twins.pairs, len(audited.ids)):
        rows = members.tolist()
        rows.sort(key=lambda row: (KEPT_FIRST.index(audited.split[row]), -pixels[row], row))
        labels = {audited.classes[row] for row in rows}
        for row in rows if len(labels) > 1 else rows[1:]:
            similarity, how, twin = nearest[row]
            others = (twin, *(other for other in rows if other not in (row, twin)))
            if len(labels) > 1:
                guess = likeliest.get(row, "")
                suggested = guess if guess in labels else ""
                note = f"{' or '.join(sorted(labels))}? {how}"
                found.append(Finding(row, "two labels", similarity, note, others, suggested))
            else:
                kind = _kind(row, rows, audited)
                found.append(Finding(row, kind, similarity, how, others, DROP))
    return sorted(found, key=lambda finding: -finding.score)


def _kind(row: int, rows: Sequence[int], audited: Audited) -> str:
    if len({audited.split[each] for each in rows}) > 1:
        return "leak"
    groups = audited.groups
    return "kin" if groups is not None and len({groups[each] for each in rows}) == 1 else "copy"


def _nearest(twins: Twins) -> dict[int, tuple[float, str, int]]:
    """By row its most similar twin: how similar, how it lies, and its row."""
    nearest: dict[int, tuple[float, str, int]] = {}
    pairs = zip(twins.pairs.tolist(), twins.similarity.tolist(), twins.how.tolist(), strict=True)
    for (one, other), similarity, how in pairs:
        for row, twin in ((one, other), (other, one)):
            if row not in nearest or similarity > nearest[row][0]:
                nearest[row] = similarity, how, twin
    return nearest


def torn_groups(audited: Audited) -> list[Finding]:
    """Training images of groups that are judged by as well, as only splits that are given have."""
    if audited.groups is None:
        return []
    members: dict[str, list[int]] = {}
    for row, group in enumerate(audited.groups):
        members.setdefault(group, []).append(row)
    found = []
    for group, rows in members.items():
        judged = tuple(row for row in rows if audited.split[row] != "train")
        for row in sorted(set(rows).difference(judged)) if judged else ():
            note = f"group {group}, as in {audited.split[judged[0]]}"
            found.append(Finding(row, "group", len(judged), note, judged, DROP))
    return found


def names_of_clusters(twins: Twins, ids: Sequence[str]) -> list[list[str]]:
    """The ids of images that show the same, a list for each picture."""
    return [np.asarray(ids)[rows].tolist() for rows in clusters(twins.pairs, len(ids))]
