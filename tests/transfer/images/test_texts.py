"""Texts in one run of bytes are what a numpy array of objects is, where they are indexed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfer.images import texts as texts_module
from transfer.images.texts import GrowingTexts, Texts

NAMES = ["cat/1.jpg", "", "hund/äöü.png", "\U0001f408", "bad\udcff.jpg", "cat/1.jpg"]
"""Of all kinds: none, of several bytes, one that is not UTF-8 on disk, one twice."""
ANY = st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=5), max_size=12)


def as_array(names):
    found = np.empty(len(names), object)
    found[:] = names
    return found


@settings(max_examples=200, deadline=None)
@given(names=ANY, data=st.data())
def test_indexing_is_numpys(names, data):
    texts, array = Texts.of(names), as_array(names)
    bound = st.none() | st.integers(-15, 15)
    part = slice(data.draw(bound), data.draw(bound), data.draw(st.sampled_from([None, 1, 2, -1])))
    assert texts[part].tolist() == array[part].tolist()
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names))))
    mask = mask.astype(bool)
    assert texts[mask].tolist() == array[mask].tolist()
    if names:
        place = st.integers(-len(names), len(names) - 1)
        places = np.array(data.draw(st.lists(place, max_size=9)), np.int64)
        assert texts[places].tolist() == array[places].tolist()
        assert texts[places.tolist()].tolist() == array[places].tolist()
        assert texts[part][::-1].tolist() == array[part][::-1].tolist()
        for number in places:
            assert texts[number] == array[number]


def test_all_kinds_of_names_come_back():
    texts = Texts.of(iter(NAMES))
    assert len(texts) == len(NAMES)
    assert list(texts) == texts.tolist() == NAMES
    assert [texts[place] for place in range(len(NAMES))] == NAMES
    assert "hund/äöü.png" in texts
    assert texts.index("\U0001f408") == 3
    assert Texts.of(texts) is texts


def test_more_than_are_taken_at_a_time(monkeypatch):
    names = [f"{number * 7919 % 1000}" for number in range(300)]
    monkeypatch.setattr(texts_module, "_BLOCK", 64)
    texts, order = Texts.of(names), np.random.default_rng(0).permutation(300)
    assert list(texts) == names
    assert list(texts[order]) == [names[place] for place in order]
    assert list(texts[order][100:250]) == [names[place] for place in order][100:250]


@pytest.mark.parametrize("place", [6, -7])
def test_a_place_outside_is_an_error(place):
    with pytest.raises(IndexError):
        Texts.of(NAMES)[place]
    with pytest.raises(IndexError):
        Texts.of(NAMES)[np.array([0, place])]


def test_numpy_takes_them_as_objects():
    texts = Texts.of(NAMES[:3])
    array = np.asarray(texts)
    assert array.dtype == object
    assert array.tolist() == NAMES[:3]
    assert np.asarray(texts, "U20").tolist() == NAMES[:3]
    assert np.array_equal(texts, as_array(NAMES[:3]))
    assert (texts == "").tolist() == [False, True, False]
    assert (as_array(NAMES[:3]) == texts).all()
    assert (texts != texts[::-1]).tolist() == [True, False, True]
    assert np.asarray(Texts.of([])).shape == (0,)
    with pytest.raises(ValueError, match="leave to copy"):
        np.array(texts, copy=False)


def test_three_times_smaller_than_objects():
    names = [f"train/class-{number % 10}/{number:07}.jpg" for number in range(2_000)]
    texts = Texts.of(names)
    objects = sum(name.__sizeof__() + 8 for name in names)
    assert 2.4 * (texts.encoded.nbytes + texts.starts.nbytes) < objects


def test_growing_texts_are_whole_in_the_end():
    growing = GrowingTexts()
    for number, name in enumerate(NAMES):
        assert len(growing) == number
        growing.append(name)
    assert growing.whole().tolist() == NAMES
