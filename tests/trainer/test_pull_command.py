"""`embedtune pull` as a user types it, with a kubectl that answers what a test wants."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

from embedtune_trainer.cli import main

KUBECTL = """#!{python}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
(here / "asked.json").write_text(json.dumps(sys.argv[1:]))
answer = json.loads((here / "answer.json").read_text())
print(answer.get("noise", ""), file=sys.stderr)
print(answer.get("error", ""), file=sys.stderr)
print(json.dumps(answer.get("job")))
sys.exit(answer["code"])
"""
FILES = {
    "model.safetensors": b"weights",
    "embedtune.json": b'{"modality": "image"}',
    "1/config.json": b"{}",
}


class Cluster:
    """Its kubectl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        program = folder / "kubectl"
        program.write_text(KUBECTL.format(python=sys.executable))
        program.chmod(0o755)

    def answers(self, job=None, error="", noise="", code=0):
        content = {"job": job, "error": error, "noise": noise, "code": code}
        (self.folder / "answer.json").write_text(json.dumps(content))

    @property
    def asked(self) -> list[str]:
        return json.loads((self.folder / "asked.json").read_text())


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    found = Cluster(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(found.folder))
    monkeypatch.chdir(tmp_path)
    return found


def manifest_of(files):
    listed = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in files.items()
    }
    content = {"version": 1, "baseModel": "b", "embeddingDim": 3, "files": listed}
    return json.dumps(content).encode()


def job(uri, manifest, **status):
    model = {
        "uri": uri,
        "digest": "sha256:" + hashlib.sha256(manifest).hexdigest(),
        "sizeBytes": 1_500_000,
        "embeddingDim": 3,
        "baseModel": "b",
    }
    status = {"state": "Complete", "model": model, **status}
    return {"metadata": {"name": "trec"}, "spec": {}, "status": status}


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "models" / "uid"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "manifest.json").write_bytes(manifest_of(FILES))
    return folder


def test_the_model_is_fetched_checked_and_explained(cluster, model, tmp_path, capsys):
    cluster.answers(job(model.as_uri(), manifest_of(FILES)))
    target = tmp_path / "deep" / "own"
    code = main(["pull", "trec", "-n", "team-a", "--context", "prod", "--to", str(target)])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert cluster.asked == [
        *("get", "finetunejobs.embedtune.dev", "trec", "--output=json"),
        *("--namespace=team-a", "--context=prod"),
    ]
    assert {p.name for p in target.rglob("*") if p.is_file()} == {
        "model.safetensors", "embedtune.json", "config.json", "manifest.json",
    }  # fmt: skip
    assert [p.name for p in target.parent.iterdir()] == ["own"]
    assert out.startswith(f"{target}: 3 dimensions, 1.5 MB, sha256:")
    assert f'model = open_model("{target}")' in out


def test_from_s3_to_the_folder_named_after_the_job(cluster, s3, tmp_path, monkeypatch):
    for name, data in (*FILES.items(), ("manifest.json", manifest_of(FILES))):
        s3.put(f"uid/{name}", data)
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    found = job(s3.uri("uid/"), manifest_of(FILES))
    found["spec"]["storage"] = {"endpoint": "http://minio.in-the-cluster:9000"}
    cluster.answers(found)
    assert main(["pull", "trec"]) == 0
    assert (tmp_path / "trec" / "model.safetensors").read_bytes() == b"weights"


def test_a_model_that_changed_is_refused_and_nothing_is_left(cluster, model, tmp_path, capsys):
    (model / "model.safetensors").write_bytes(b"weightz")
    cluster.answers(job(model.as_uri(), manifest_of(FILES)))
    assert main(["pull", "trec"]) == 66
    assert "model.safetensors is not what the manifest says" in capsys.readouterr().err
    (model / "manifest.json").write_bytes(manifest_of({**FILES, "model.safetensors": b"weightz"}))
    assert main(["pull", "trec"]) == 66
    assert "but the job's status says sha256:" in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {"bin", "models"}


def test_a_job_without_a_model(cluster, capsys):
    bare = {"metadata": {"name": "trec"}, "spec": {}}
    cluster.answers({**bare, "status": {"state": "Failed", "reason": "BadData"}})
    assert main(["pull", "trec"]) == 64
    assert "trec has no model: it is Failed (BadData); see kubectl" in capsys.readouterr().err
    cluster.answers(bare)
    assert main(["pull", "trec"]) == 64
    assert "trec has no model: it is Pending; see" in capsys.readouterr().err


def test_a_model_that_did_not_get_better_can_be_had(cluster, model, capsys):
    found = job(model.as_uri(), manifest_of(FILES), state="Failed", reason="NotImproved")
    cluster.answers(found)
    assert main(["pull", "trec"]) == 0
    assert "trec is Failed (NotImproved); its model is there" in capsys.readouterr().err


def test_what_kubectl_says_is_told_in_a_line(cluster, capsys):
    missing = 'Error from server (NotFound): finetunejobs.embedtune.dev "x" not found'
    cluster.answers(error=missing, code=1)
    assert main(["pull", "x"]) == 67
    assert capsys.readouterr().err == (
        f"embedtune: kubectl get finetunejobs.embedtune.dev x: {missing}\n"
    )
    cluster.answers(noise="E1126 memcache.go", error="connection was refused", code=1)
    assert main(["pull", "x"]) == 80
    assert capsys.readouterr().err.endswith("embedtune.dev x: connection was refused\n")


def test_what_is_refused_before_anything_is_asked(cluster, capsys, monkeypatch, tmp_path):
    assert main(["pull", "x", "--to", str(tmp_path)]) == 64
    assert "is there already" in capsys.readouterr().err
    assert main(["pull", "--", "--all"]) == 64
    assert "is no name of a FineTuneJob" in capsys.readouterr().err
    assert not (cluster.folder / "asked.json").exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["pull", "x"]) == 64
    assert "kubectl is not on the PATH; install it" in capsys.readouterr().err
