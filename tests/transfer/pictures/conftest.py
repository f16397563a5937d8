"""What the tests of all pictures take."""

import matplotlib
import pytest

from tests.transfer.pictures.drawing import drawn_figures


@pytest.fixture
def figures():
    """The figures drawn by the test, in order."""
    with drawn_figures() as drawn:
        yield drawn


@pytest.fixture
def svg(tmp_path):
    """A path for a picture whose text can be read with `texts`."""
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        yield tmp_path / "picture.svg"
