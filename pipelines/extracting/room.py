"""Room for a feature file: what it needs of disk and memory."""

import shutil

from cache import FeatureWriter
from pipelines.machine.memory import available_memory, in_words
from transfer.errors import InputError


def check_room(writer: FeatureWriter) -> str:
    """Compares what an extraction needs with what there is, before it starts.

    Returns:
        The arithmetic, in one line.

    Raises:
        InputError: If disk or memory cannot hold it; says the arithmetic.
    """
    total, rows = writer.num_bytes, len(writer.ids)
    written = total - writer.num_missing * writer.row_bytes
    # All parts are there until they are sealed, that is, copied into one file, or as long as it is.
    needed = (1 if writer.by_reference else 2) * total - written
    free = shutil.disk_usage(writer.path.parent).free
    values = writer.values_per_row
    size = f"{rows:,} images x {values:,} x {writer.spec.dtype} = {in_words(total)}"
    # One part is filled while the one before it is written.
    rows_held, memory = 2 * min(rows, writer.rows_per_part), available_memory()
    held = rows_held * writer.row_bytes
    until = "" if writer.by_reference else " until sealed"
    arithmetic = (
        f"{size}; {in_words(needed)} of disk{until}, {in_words(free)} free; "
        f"{in_words(held)} of memory, {in_words(memory)} free"
    )
    if needed > free:
        raise InputError(
            f"features need more disk than there is: {arithmetic}; make room, or take fewer cuts, "
            "--pooling avg, or --storage float16"
        )
    if held > memory:
        raise InputError(
            f"features need more memory than there is: {rows_held:,} rows x {values:,} are held at "
            f"a time: {arithmetic}; take fewer cuts, or --pooling avg"
        )
    return arithmetic
