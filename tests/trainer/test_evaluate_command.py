"""`embedtune evaluate` as a user types it: what a job would measure."""

import json

import pytest

from embedtune_trainer.cli import main
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.load import open_model
from embedtune_trainer.evaluation.measures import LabelSearch
from embedtune_trainer.rows.table import LabelledRows, Texts
from tests.trainer import tiny

ROWS = tiny.rows(40)


def labelled(rows):
    return LabelledRows(Texts(text for text, _ in rows), [label for _, label in rows], "rows")


def measured(folder, queries, index, cutoffs):
    encoders = Encoders.single(open_model(folder))
    measure = LabelSearch(labelled(queries), index and labelled(index), cutoffs, 256)
    found = measure.run(encoders, lambda: False)
    return {name: f"{found[name]:.4f}" for name in measure.metrics}


def evaluate(capsys, *arguments):
    assert main(["evaluate", *map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_rows_are_searched_in_the_others(tiny_backbone, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    data = tiny.write_csv(tmp_path / "test.csv", ROWS)
    told = json.loads(evaluate(capsys, tiny_backbone, data, "--json"))
    expected = measured(tiny_backbone, ROWS, None, (1, 5, 10))
    assert told == {"queries": 40, "metrics": expected}
    assert list(told["metrics"]) == list(expected)
    table = evaluate(capsys, tiny_backbone, data)
    assert f"│ ndcg_at_10      │ {expected['ndcg_at_10']} │" in table


def test_queries_are_searched_in_an_index(tiny_backbone, tmp_path, capsys):
    queries = tiny.write_csv(tmp_path / "q.csv", ROWS[:12])
    index = tiny.write_csv(tmp_path / "i.csv", ROWS[12:])
    options = ("--queries", queries, "--index", index, "--cutoffs", 3, "--json")
    told = json.loads(evaluate(capsys, tiny_backbone, *options))
    expected = measured(tiny_backbone, ROWS[:12], ROWS[12:], (3,))
    assert told == {"queries": 12, "metrics": expected}


def test_scored_pairs_are_correlated(tiny_backbone, tmp_path, capsys):
    data = tmp_path / "pairs.csv"
    rows = [
        f"{a},{b},{i / 10}"
        for i, ((a, _), (b, _)) in enumerate(zip(ROWS, ROWS[5:15], strict=False))
    ]
    data.write_text("sentence1,sentence2,score\n" + "\n".join(rows) + "\n")
    told = json.loads(evaluate(capsys, tiny_backbone, data, "--json"))
    assert list(told["metrics"]) == ["spearman"]
    assert -1 <= float(told["metrics"]["spearman"]) <= 1


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ((), 64, "give DATA, or --queries and --index"),
        (("d.csv", "--queries", "q.csv", "--index", "i.csv"), 64, "give DATA, or"),
        (("--queries", "q.csv"), 64, "give DATA, or --queries and --index"),
        (("d.csv", "--queries", "q.csv"), 64, "give DATA, or --queries and --index"),
        (("d.csv", "--cutoffs", "0"), 64, "cutoffs[0]"),
        (("d.csv", "--format", "xls"), 64, "format"),
        (("/none.csv",), 67, "/none.csv"),
    ],
)
def test_what_is_refused(options, code, says, tiny_backbone, capsys):
    assert main(["evaluate", str(tiny_backbone), *options]) == code
    assert says in capsys.readouterr().err
