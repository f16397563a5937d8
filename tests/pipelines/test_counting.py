"""Numbers of things as people write them."""

import pytest

from pipelines.counting import counted


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 classes"),
        (1, "1 class"),
        (2, "2 classes"),
        (-1, "-1 classes"),
        (5000, "5,000 classes"),
    ],
)
def test_one_of_a_kind_has_no_plural(number, words):
    assert counted(number, "class", "classes") == words
    assert counted(number, "image") == words.replace("classes", "images").replace("class", "image")
