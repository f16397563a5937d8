"""Columns of texts: what is written is read back, as objects and as one run of bytes."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import hdf5

# HDF5 pads with NUL, so that none can be at an end; no name of a file has one.
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=9)


def written(path, texts):
    with hdf5.create(path) as file:
        hdf5.add_texts(file, "texts", texts)


def pieces(encoded, starts):
    return [encoded[start:stop].tobytes().decode() for start, stop in pairwise(starts)]


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, max_size=20))
def test_both_ways_of_reading_give_what_was_written(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("texts") / "texts.h5"
    written(path, texts)
    with hdf5.open_file(path) as file:
        assert hdf5.texts(file["texts"]).tolist() == texts
        assert pieces(*hdf5.encoded_texts(file["texts"])) == texts


def test_more_than_one_chunk(tmp_path):
    texts = [f"klasse-ä/{number:0{number % 97}}.jpg" for number in range(9_000)]
    written(tmp_path / "texts.h5", texts)
    with hdf5.open_file(tmp_path / "texts.h5") as file:
        assert file["texts"].chunks[0] < len(texts) / 2
        encoded, starts = hdf5.encoded_texts(file["texts"])
    assert pieces(encoded, starts) == texts
    assert encoded.dtype == np.uint8
    assert len(encoded) == sum(len(text.encode()) for text in texts)


def test_damage_is_found(tmp_path):
    written(tmp_path / "texts.h5", ["one", "two"])
    content = bytearray((tmp_path / "texts.h5").read_bytes())
    content[content.index(b"onetwo")] ^= 1
    (tmp_path / "texts.h5").write_bytes(content)
    with hdf5.open_file(tmp_path / "texts.h5") as file, pytest.raises(OSError, match="filter"):
        hdf5.encoded_texts(file["texts"])
