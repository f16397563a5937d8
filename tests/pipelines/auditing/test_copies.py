"""Which of several copies is a finding, and of which kind; which scores are without leaks."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.auditing.copies import copies, torn_groups
from pipelines.auditing.findings import Audited
from pipelines.auditing.leaks import leaked_rows, scores_without
from transfer.auditing.duplicates import Twins


def twins(*pairs):
    values = np.array([similarity for _, _, similarity in pairs], np.float32)
    how = np.full(len(pairs), "looks like", object)
    return Twins(np.array([pair[:2] for pair in pairs]), values, how)


def audited(classes, split, groups=None):
    return Audited([f"{row}.png" for row in range(len(classes))], classes, split, groups)


def test_one_of_several_is_kept_that_which_judges_or_else_the_largest():
    three = twins((0, 1, 0.9), (1, 2, 0.8))
    pixels = [10, 30, 20]
    leaks = copies(three, audited("aaa", ["train", "train", "test"]), pixels, {})
    assert [(one.row, one.kind, one.others) for one in leaks] == [
        (1, "leak", (0, 2)),
        (0, "leak", (1, 2)),
    ]
    within = copies(three, audited("aaa", ["train"] * 3), pixels, {})
    assert {(one.row, one.kind) for one in within} == {(0, "copy"), (2, "copy")}
    assert {one.suggested for one in leaks + within} == {"drop"}


def test_in_one_group_they_may_be_meant():
    pair, pixels = twins((0, 1, 0.9)), [1, 1]
    kinds = [
        copies(pair, audited("aa", ["train"] * 2, groups), pixels, {})[0].kind
        for groups in (["g", "g"], ["g", "h"], None)
    ]
    assert kinds == ["kin", "copy", "copy"]


def test_of_two_labels_all_are_findings_and_heads_say_which():
    found = copies(twins((0, 1, 0.9)), audited("ab", ["train", "test"]), [1, 1], {0: "b", 1: "c"})
    assert {(one.row, one.kind, one.suggested) for one in found} == {
        (0, "two labels", "b"),
        (1, "two labels", ""),  # a class that neither has
    }


def test_training_images_of_groups_that_judge_are_findings():
    of = audited("aaaa", ["train", "test", "train", "train"], ["p", "p", "p", "q"])
    assert [(one.row, one.others) for one in torn_groups(of)] == [(0, (1,)), (2, (1,))]
    assert torn_groups(audited("aa", ["train", "test"])) == []


class Stored(SimpleNamespace):
    def __len__(self):
        return len(self.ids)


STORED = Stored(key="k", ids=np.array(list("abcdef"), object))
SPLIT = np.array(["train", "train", "val", "val", "test", "test"])


@pytest.mark.parametrize(
    ("scored", "expected"),
    [("test", [True, True]), ("val", [True, False]), ("train", [False, False])],
)
def test_what_was_learned_from_before_a_split_is_scored_leaks(scored, expected, tmp_path):
    audit = {"features": "k", "twins": [["a", "c", "e"], ["d", "f"]]}
    (tmp_path / "audit.json").write_text(json.dumps(audit))
    assert leaked_rows(tmp_path, STORED, SPLIT, scored).tolist() == expected


def test_an_audit_of_other_features_is_not_used_and_said(tmp_path, capsys):
    assert leaked_rows(tmp_path, STORED, SPLIT, "test") is None
    (tmp_path / "audit.json").write_text(json.dumps({"features": "old", "twins": [["a", "e"]]}))
    assert leaked_rows(tmp_path, STORED, SPLIT, "test") is None
    assert "the audit is of other images and is not used" in capsys.readouterr().out


def test_scores_are_given_with_and_without(capsys):
    probabilities = {"head": np.eye(2)[[0, 1, 0, 0]]}
    labels = np.array([0, 1, 1, 0])
    leaked = np.array([True, True, False, False])
    result = scores_without(leaked, probabilities, labels)
    assert result == {"leaked": 2, "accuracy_without_leaked": {"head": 0.5}}
    assert "2 of 4 images" in (said := capsys.readouterr().out)
    assert "head 0.5000 without them, 0.7500 with" in said
    assert scores_without(None, probabilities, labels) == {}
    assert scores_without(np.zeros(4, bool), probabilities, labels) == {"leaked": 0}
    assert scores_without(np.ones(4, bool), probabilities, labels) == {"leaked": 4}
