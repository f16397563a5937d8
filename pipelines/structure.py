"""The structure stage: sorts a flat folder of images into class folders."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.counting import counted
from pipelines.results import print_table
from transfer.errors import InputError
from transfer.names import shown


@dataclass(frozen=True)
class StructureStage:
    """Sort a flat folder of images into class folders, by file names or a CSV file.

    Says what it would do; does it with --apply.
    """

    source: Path | None = None
    """The flat folder."""
    target: Path | None = None
    """Folder for the class folders; need not exist."""
    labels: Path | None = None
    """A CSV file with a column file (or filename, image, id, ...) and a column label (or class,
    category, ...); by default classes are read off the file names, as in cat.12.jpg."""
    apply: bool = False
    """Do it; without this, only the plan is shown."""
    move: bool = False
    """Move files instead of copying them."""


def run(stage: StructureStage) -> int:
    """Shows the plan and, with `apply`, carries it out.

    Returns:
        Number of files that would be, or were, brought into class folders.
    """
    from transfer.images.file_names import kinds_in_words
    from transfer.images.structuring import carry_out, plan

    if stage.source is None or stage.target is None:
        raise InputError("expected --source FOLDER and --target FOLDER; add --apply to do it")
    planned = plan(stage.source, stage.target, labels=stage.labels)
    print_table(
        f"{stage.source} -> {stage.target}",
        ["class", "images"],
        [[name, count] for name, count in sorted(planned.counts.items())],
    )
    if planned.left_out:
        print(f"structure: left out {kinds_in_words(planned.left_out)}")
    if planned.unlabelled:
        names = ", ".join(shown(path.name) for path in planned.unlabelled[:5])
        unlabelled = counted(len(planned.unlabelled), "file")
        print(f"structure: no label for {unlabelled}, left there: {names}, ...")
    verb = "move" if stage.move else "copy"
    if not stage.apply:
        print(
            f"structure: would {verb} {counted(len(planned.moves), 'file')}; add --apply to do it"
        )
        return len(planned.moves)
    count = carry_out(planned, move=stage.move)
    print(f"structure: {verb} of {counted(count, 'file')} done, now DATA={stage.target}")
    return count
