"""Five million images in one tar, as one machine of a cluster meets them: time and memory."""

import io
import os
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.benchmarks.commands import run_stage
from tests.benchmarks.timing import figure

NUMBER = 5_000_000
MOST_MEMORY = 1.5
"""GiB beside the tables of images, which are mapped and can be given up; TensorFlow takes 0.7."""
TINY = ["--backbone", "MobileNetV2", "--weights", "none", "--alpha", "0.35", "--image-size", "32"]
TINY += ["--cut", "Conv1_relu", "--pooling", "avg", "--seal", "reference"]


def millions() -> list[dict]:
    """`transfer features` of as many images of 8 x 8 pixels, again, and with a few others."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "photos.tar")
        options = ["--data", str(data), "--artifacts", folder, *TINY]
        rows = []
        for which, images in (
            ("first run", range(NUMBER)),
            ("second run", None),
            ("all but a thousand of them in another entry", range(1000, NUMBER + 1000)),
        ):
            if images:
                write_tar(data, images)
            seconds, peak = run_stage("features", *options, log=Path(folder, "log"))
            tables = sum(path.stat().st_size for path in Path(folder, "index").iterdir()) / 2**30
            print(
                f"bench: {which}: {seconds:.0f} s, {peak:.2f} GiB, {tables:.2f} of tables; "
                + Path(folder, "log").read_text().splitlines()[-1],
                flush=True,
            )
            what = f"{NUMBER:,} images, {which}: {MOST_MEMORY} GiB beside tables / peak memory"
            rows.append(figure(what, (MOST_MEMORY + tables) / peak, 1))
    return rows


def write_tar(path: Path, numbers: range) -> None:
    """Small images of ten classes, no two alike: each has its number behind what is decoded.

    Not by `TarFile.addfile`, which keeps an object for each.
    """
    image = _png()
    with path.open("wb", buffering=1 << 20) as file:
        for row in numbers:
            content = image + row.to_bytes(4)
            member = tarfile.TarInfo(f"class{row % 10}/{row:09}.png")
            member.size = len(content)
            file.write(member.tobuf(tarfile.USTAR_FORMAT))
            file.write(content.ljust(-len(content) // 512 * -512, b"\0"))
        file.write(bytes(2 * 512))
    # What was written just now would not be remembered.
    os.utime(path, (numbers.start, numbers.start))


def _png() -> bytes:
    """An image of 8 x 8 pixels."""
    file = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(file, "PNG")
    return file.getvalue()
