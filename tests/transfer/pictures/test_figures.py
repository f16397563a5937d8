"""For all pictures: their folders, and what drawing imports."""

import subprocess
import sys

from tests.transfer.pictures.drawing import image_size
from transfer.pictures.curves import plot_history


def test_folders_are_made_and_the_path_is_kept(tmp_path):
    for name in ("new/deep/h.png", "h.jpg", "without_suffix"):
        path = plot_history({"loss": [1.0, 0.5]}, tmp_path / name, best_epoch=None)
        assert path == tmp_path / name
        assert image_size(path)[0] > 300


def test_pictures_need_neither_pyplot_nor_a_display(tmp_path):
    program = (
        "import sys; from pathlib import Path; from transfer import metrics\n"
        "from transfer.images import structuring; from transfer.pictures import curves\n"
        "heavy = {'matplotlib', 'sklearn', 'keras', 'tensorflow'} & set(sys.modules)\n"
        f"curves.plot_history({{'loss': [1.0]}}, Path({str(tmp_path / 'h.png')!r}), best_epoch=0)\n"
        "print(heavy, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set() False"
    assert image_size(tmp_path / "h.png")
