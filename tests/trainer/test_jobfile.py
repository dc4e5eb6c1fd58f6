"""YAML is read as kubectl reads it, and a problem is told with its line and field."""

from pathlib import Path

import pytest

from embedtune_trainer.errors import BadSpec, SourceNotFound
from embedtune_trainer.jobfile import parse_job, plain_value, read_job, with_s3_root

MINIMAL = """\
apiVersion: embedtune.dev/v1alpha1
kind: FineTuneJob
metadata: {name: trec}
spec:
  model: {backbone: file:///base}
  data:
    train: {uri: file:///train.csv}
  training:
    learningRate: 2e-5
  output: {uri: file:///out}
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # what `kubectl label --local -o json` 1.34 makes of each
        *[("2e-5", 2e-5), ("1e3", 1000), (".5", 0.5), ("1.", 1), ("5.0", 5), ("+.5", 0.5)],
        *[("010", 8), ("0o10", 8), ("0x1F", 31), ("0b11", 3), ("08", 8), ("1_000", 1000)],
        *[("-5", -5), ("+5", 5), ("-0x1F", -31), ("0O17", 15), ("1_0.5", 10.5), ("00", 0)],
        *[("yes", True), ("y", True), ("on", True), ("n", False), ("Off", False), ("NO", False)],
        *[("~", None), ("", None), ("null", None), ("nUll", "nUll"), ("yEs", "yEs")],
        *[("1:30", "1:30"), ("2026-11-24", "2026-11-24"), ("-", "-"), (".", "."), ("e5", "e5")],
        *[("1.2.3", "1.2.3"), ("abc", "abc"), ("-.", "-."), ("0x", "0x"), ("<<", "<<")],
    ],
)
def test_plain_scalars_are_kubectl_s(text: str, value: object) -> None:
    read = plain_value(text)
    assert (type(read), read) == (type(value), value)


def test_a_job_is_read(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"\xef\xbb\xbf---\n" + MINIMAL.encode() + b"---\n")
    job = read_job(tmp_path / "job.yaml")
    assert job.spec.training.learning_rate == 2e-5
    assert job.output_uri == "file:///out/default/trec/local/"


def test_json_is_yaml() -> None:
    job = parse_job(MINIMAL, "x")
    assert parse_job(job.model_dump_json(by_alias=True), "x") == job


def test_anchors_and_merges_work() -> None:
    text = MINIMAL.replace("training:", "objective: &o {itemsPerClass: 3}\n  training:")
    text = text.replace("output:", "runPolicy:\n    <<: {backoffLimit: 1}\n  output:")
    job = parse_job(text, "x")
    assert (job.spec.objective.items_per_class, job.spec.run_policy.backoff_limit) == (3, 1)


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (("2e-5", "fast"), ["job.yaml:9: spec.training.learningRate: "]),
        (("2e-5", "'2e-5'"), ["job.yaml:9: spec.training.learningRate: "]),
        (("learningRate", "learning_rat"), ["job.yaml:9: spec.training.learning_rat: unknown fi"]),
        (
            ("  model: {backbone: file:///base}\n", ""),
            ["job.yaml:4: spec.model: required field is missing"],
        ),
        (
            ("2e-5", "2\n    epochs: 0\n    seed: no"),
            [
                "job.yaml:9: spec.training.learningRate: ",
                "job.yaml:10: spec.training.epochs: ",
                "job.yaml:11: spec.training.seed: ",
            ],
        ),
        (("  model", "  data: 1\n  model"), ["job.yaml:7: spec.data is given twice"]),
        (("kind: FineTuneJob", "kind: Job"), ["job.yaml: holds embedtune.dev/v1alpha1 Job, only "]),
        (("v1alpha1", "v2"), ["job.yaml: holds embedtune.dev/v2 FineTuneJob, only embedtune.dev/"]),
        (("{name: trec}", "{name: trec"), ["job.yaml:4: not YAML: "]),
        (("{name: trec}", "{name: trec}\n---\n"), ["job.yaml:6: a second document begins here; "]),
        (("2e-5", "!!float 2e-5"), ["job.yaml:9: the tag tag:yaml.org,2002:float is not used"]),
        (("2e-5", "&a [*a]"), ["job.yaml:9: an alias that holds itself"]),
        (("2e-5", "{[1]: 2}"), ["job.yaml:9: a key is a word"]),
        (("2e-5", "{<<: 2}"), ["job.yaml:9: only mappings can be merged"]),
        ((MINIMAL, ""), ["job.yaml: is empty; "]),
        ((MINIMAL, "- a"), ["job.yaml: holds no object; "]),
        (("2e-5", "\x00"), ["job.yaml: not YAML: "]),
    ],
)
def test_problems_are_told_by_line_and_field(change: tuple[str, str], messages: list[str]) -> None:
    with pytest.raises(BadSpec) as raised:
        parse_job(MINIMAL.replace(*change), "job.yaml")
    lines = str(raised.value).splitlines()
    assert len(lines) == len(messages), lines
    for line, begin in zip(lines, messages, strict=True):
        assert line.startswith(begin)


@pytest.mark.parametrize(
    ("objective", "why"),
    [
        ("loss: MultipleLosses", "it adds up other losses; name them in spec.objective.also"),
        ("also: [{loss: HistogramLoss}]", "it fails on a batch that holds an item twice"),
        ("miner: MaximumLossMiner", "it is in the library's version 1 alone"),
    ],
)
def test_a_name_that_cannot_be_trained_is_refused_with_the_reason(objective: str, why: str) -> None:
    text = MINIMAL.replace("training:", f"objective: {{{objective}}}\n  training:")
    with pytest.raises(BadSpec, match=rf"^job\.yaml:8: spec\.objective\..*'\): {why}$"):
        parse_job(text, "job.yaml")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"none\.yaml: no such file or directory"):
        read_job(tmp_path / "none.yaml")
    (tmp_path / "utf16").write_text(MINIMAL, encoding="utf-16")
    with pytest.raises(BadSpec, match="not UTF-8"):
        read_job(tmp_path / "utf16")


def test_a_folder_stands_for_the_s3_service() -> None:
    spec = """\
apiVersion: embedtune.dev/v1alpha1
kind: FineTuneJob
metadata: {name: trec, namespace: search}
spec:
  model:
    text: {backbone: s3://bases/minilm}
    image: {backbone: torchvision://mobilenet_v2, weights: s3://bases/mobilenet.pth}
  data:
    train: {uri: s3://datasets/trec/train.csv}
    evaluation: {uri: file:///elsewhere.csv}
  output: {uri: s3://models}
"""
    job = with_s3_root(parse_job(spec, "job.yaml"), Path("/s3"))
    assert job.output_uri == "file:///s3/models/search/trec/local/"
    assert job.spec.model.backbones == ("file:///s3/bases/minilm", "torchvision://mobilenet_v2")
    assert job.spec.model.image is not None
    assert job.spec.model.image.weights == "file:///s3/bases/mobilenet.pth"
    assert job.spec.data.train == parse_job(spec, "job.yaml").spec.data.train.model_copy(
        update={"uri": "file:///s3/datasets/trec/train.csv"}
    )
    assert job.spec.data.evaluation.uri == "file:///elsewhere.csv"
