"""What `embedtune data check` shows, against goldens: UPDATE_GOLDENS=1 writes them anew."""

import json
import os
from pathlib import Path

import pytest

from embedtune_api.spec import Dataset
from embedtune_trainer.rows.read import Wanted
from embedtune_trainer.rows.read import read as read_all
from embedtune_trainer.rows.summary import render, summarize
from tests.trainer.rows.reading import IMAGE, TEXT, VECTOR

HERE = "file:///data/train.csv"
GOLDEN = Path(__file__).resolve().parents[2] / "golden"
LABELLED = "".join(
    [
        "id,text,label\n",
        *(f"{i},{'word ' * (i % 40 + 1)}of row {i},class {i * i % 30}\n" for i in range(300)),
        "300,repeated,a\n301,repeated,a\n302,torn,a\n303,torn,b\n304,alone,single\n305,,a\n",
    ]
)
SCORED = "sentence1,sentence2,score\na,b,0.5\nc,d,1\na,b,0.25\nc,d,1\n"
MARGINS = "anchor,positive,negative,score\na,b,c,2.5\na,b,d,-0.5\na,b,c,4\nd,e,c,1\nd,e,c,1\n"


def summary(folder: Path, content: str, want: Wanted = TEXT, **options):
    path = folder / "train.csv"
    path.write_text(content)
    dataset = Dataset.parse({"uri": "s3://data/train.csv", **options})
    return summarize(read_all(path, dataset, want))


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("data-check", LABELLED, {"onBadRow": "skip"}),
        ("data-check-scored", SCORED, {}),
        ("data-check-margins", MARGINS, {}),
        ("data-check-one-class", "a,x\nb,x\n", {}),
    ],
)
def test_told_to_a_person(tmp_path, name, content, options):
    text = render(summary(tmp_path, content, **options))
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDENS"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_repeats_and_conflicts_are_counted_exactly(tmp_path):
    found = summary(tmp_path, "a,x\na,x\na,y\na,x\na,z\nb,y\nB,y\nb ,y\n")
    assert (found.duplicates, found.conflicts) == (2, 1)
    assert found.problems == ["1 items stand under more than one label"]


def test_pairs_repeat_only_as_pairs(tmp_path):
    found = summary(tmp_path, "query,answer\na,b\na,c\nb,a\na,b\n")
    assert (found.duplicates, found.conflicts, found.classes) == (1, 0, 0)
    assert found.columns == {"anchor": "query", "positive": "answer"}


def test_for_programs(tmp_path):
    found = json.loads(json.dumps(summary(tmp_path, LABELLED, onBadRow="skip").to_dict()))
    assert (found["rows"], found["skipped"], found["layout"]) == (305, 1, "labelled")
    assert found["unused_columns"] == ["id"]
    assert (found["classes"], found["singletons"]) == (15, 2)
    assert sum(found["lengths"].values()) == 305


def test_images_of_the_same_bytes_are_the_same_item(tmp_path):
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / f"{name}.png").write_bytes(content)
    found = summary(tmp_path, "a.png,x\nb.png,x\nc.png,x\nb.png,y\n", IMAGE, uri=HERE)
    assert (found.duplicates, found.conflicts) == (1, 1)
    assert found.examples[0] == "twice: [b.png] is 'x'"


def test_vectors(tmp_path):
    found = summary(tmp_path, 'item,label\n"[1, 2]",x\n"[1, 2]",y\n', VECTOR)
    assert (found.conflicts, found.lengths) == (1, {})
    assert found.samples[0] == "a vector of 2 is 'x'"
