"""hf:// and its neighbours: against a server that speaks as the hub, and on a cache as it lies."""

import json
import socket
from pathlib import Path
from threading import Event

import pytest

from embedtune_api.spec import Encoder
from embedtune_api.spec import Storage as StorageSpec
from embedtune_trainer.errors import (
    AccessDenied,
    BadSpec,
    SourceNotFound,
    StorageUnavailable,
    TrainerError,
)
from embedtune_trainer.reporting.licence import licence_of
from embedtune_trainer.sources.fetch import Fetched, fetch_backbone, fetch_dataset
from embedtune_trainer.sources.hub_files import HubUri, model_files, parse_hub_uri
from embedtune_trainer.sources.storage import ClaimStore, RetryPolicy, Storage, open_storage
from tests.trainer.hub.server import SHA, Hub, serving

QUICK = RetryPolicy(give_up_after_s=1.0, first_wait_s=0.05)
MODULES = json.dumps([{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}]).encode()
MODEL = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "modules.json": MODULES,
    "1_Pooling/config.json": b"{}",
    "2_Dense/config.json": b"{}",
    "2_Dense/pytorch_model.bin": b"dense",
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"pickle",
    "tf_model.h5": b"h5",
    "modeling_own.py": b"code",
    "onnx/config.json": b"{}",
    "onnx/model.onnx": b"onnx",
    "README.md": b"---\nlicense: mit\n---\n",
    "onnx/README.md": b"card",
}
WANTED = {name for name in MODEL if name[:2] in ("co", "to", "1_", "2_")}
WANTED |= {"modules.json", "model.safetensors", "README.md"}
DATA = {"data/train.csv": b"a,b\n", "data/test.csv": b"c,d\n", "README.md": b"card", "own.py": b""}


@pytest.fixture
def hub():
    with serving(Hub({"models/org/name": MODEL, "datasets/org/rows": DATA})) as served:
        yield served


def opened(tmp_path: Path, endpoint: str = "http://127.0.0.1:9", **env: str) -> Storage:
    environ = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), **env}
    return open_storage(StorageSpec(), Event(), QUICK, environ)


def fetched(store: Storage, uri: str, tmp_path: Path) -> Fetched:
    return fetch_backbone(store, Encoder.parse({"backbone": uri}), tmp_path / "backbone")


def names(folder: Path | None) -> set[str]:
    assert folder is not None
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("revision", ["", "@v1", f"@{SHA}"])
def test_a_model_is_fetched_without_what_is_not_used(hub, tmp_path, revision):
    found = fetched(opened(tmp_path, hub.endpoint), f"hf://org/name{revision}", tmp_path)
    assert found.revision == SHA
    assert names(found.folder) == WANTED
    snapshot = tmp_path / "home/hub/models--org--name/snapshots" / SHA
    assert found.folder == snapshot
    assert (snapshot / "model.safetensors").read_bytes() == b"weights"
    assert licence_of(found.folder) == "mit"


def test_what_is_in_the_cache_is_not_fetched_again_and_works_offline(hub, tmp_path):
    store = opened(tmp_path, hub.endpoint)
    first = fetched(store, "hf://org/name", tmp_path).folder
    hub.asked.clear()
    assert fetched(store, "hf://org/name", tmp_path).folder == first
    assert not [request for request in hub.asked if "/resolve/" in request]
    hub.asked.clear()
    offline = opened(tmp_path, hub.endpoint, HF_HUB_OFFLINE="1")
    assert fetched(offline, f"hf://org/name@{SHA}", tmp_path).folder == first
    assert not hub.asked


def test_a_saved_pair_is_fetched_whole(tmp_path):
    side = {"config.json": b"{}", "model.safetensors": b"weights", "onnx/model.onnx": b"onnx"}
    text = {**side, "modules.json": MODULES, "1_Pooling/config.json": b"{}"}
    pair = {
        "pair.json": b"{}",
        "training.json": b"{}",
        **{f"text/{name}": content for name, content in text.items()},
        **{f"image/{name}": content for name, content in side.items()},
    }
    with serving(Hub({"models/org/pair": pair})) as hub:
        found = fetched(opened(tmp_path, hub.endpoint), "hf://org/pair", tmp_path)
    assert names(found.folder) == {name for name in pair if "onnx" not in name}


def test_a_pickle_is_taken_where_there_is_no_safetensors():
    assert model_files(["pytorch_model.bin", "a.onnx"]) == ["pytorch_model.bin"]
    sharded = ["model-00001-of-00002.safetensors", "model.safetensors.index.json"]
    assert model_files([*sharded, "pytorch_model.bin", "pytorch_model.bin.index.json"]) == sharded
    both = ["open_clip_config.json", "open_clip_pytorch_model.bin", "open_clip_model.safetensors"]
    assert model_files(both) == [both[0], both[2]]
    assert model_files(both[:2]) == both[:2]
    assert model_files(["README.md", "a.onnx"]) == [], "a card is no model"


def test_a_cache_as_the_hub_lays_it_out_is_used_offline(tmp_path):
    cache = tmp_path / "home/hub/models--org--name"
    for folder in ("blobs", "refs", f"snapshots/{SHA}"):
        (cache / folder).mkdir(parents=True)
    (cache / "blobs/abc").write_bytes(b"{}")
    (cache / "blobs/def").write_text("---\nlicense: other\nlicense_name: gemma\n---\n# A model\n")
    (cache / "refs/main").write_text(SHA)
    for name, blob in (("config.json", "abc"), ("README.md", "def")):
        (cache / f"snapshots/{SHA}" / name).symlink_to(f"../../blobs/{blob}")
    store = opened(tmp_path, HF_HUB_OFFLINE="1")
    found = fetched(store, "hf://org/name", tmp_path)
    assert found == Fetched("hf://org/name", cache / "snapshots" / SHA, revision=SHA)
    assert names(found.folder) == {"config.json", "README.md"}
    assert licence_of(found.folder) == "gemma"
    with pytest.raises(SourceNotFound, match="hf://org/other: is not in the cache"):
        fetched(store, "hf://org/other", tmp_path)
    with pytest.raises(SourceNotFound, match="hf://org/name@v2: is not in the cache"):
        fetched(store, "hf://org/name@v2", tmp_path)


@pytest.mark.parametrize("place", ["/api/models/org/name", "/tree/", "/resolve/"])
def test_what_passes_is_tried_again(hub, tmp_path, place):
    hub.trouble = (place, 503)
    found = fetched(opened(tmp_path, hub.endpoint), "hf://org/name", tmp_path)
    assert hub.trouble is None
    assert names(found.folder) == WANTED


@pytest.mark.parametrize(
    ("uri", "refusal", "error", "said"),
    [
        ("hf://org/none", None, SourceNotFound, "hf://org/none: .* has no such repository"),
        ("hf://org/name@v9", None, SourceNotFound, "hf://org/name@v9: .* no such revision"),
        ("hf://org/name", (401, ""), AccessDenied, r"HTTP 401.*or there is no such.*hfTokenSecret"),
        ("hf://org/name", (403, ""), AccessDenied, "refuses access .HTTP 403"),
        ("hf://org/name", (403, "GatedRepo"), AccessDenied, "gated.*accept its conditions"),
        ("hf://org/name", (400, ""), BadSpec, "cannot do this .HTTP 400"),
    ],
)
def test_what_no_retry_mends_is_said_at_once(hub, tmp_path, uri, refusal, error, said):
    hub.refusals = [refusal] if refusal else []
    with pytest.raises(error, match=said):
        fetched(opened(tmp_path, hub.endpoint), uri, tmp_path)
    assert len(hub.asked) == 1


def test_the_token_is_sent(hub, tmp_path):
    hub.token = "secret"
    store = opened(tmp_path, hub.endpoint, HF_TOKEN="secret")
    assert fetched(store, "hf://org/name", tmp_path).revision == SHA
    with pytest.raises(AccessDenied, match="check what the token in HF_TOKEN may read"):
        fetched(opened(tmp_path, hub.endpoint, HF_TOKEN="wrong"), "hf://org/name", tmp_path)


def test_a_hub_that_is_not_there_is_unavailable(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(StorageUnavailable, match=r"hf://org/name: http://127.*gave up after"):
        fetched(opened(tmp_path, f"http://127.0.0.1:{port}"), "hf://org/name", tmp_path)


def test_data_of_the_hub(hub, tmp_path):
    store = opened(tmp_path, hub.endpoint)
    data = "hf://datasets/org/rows"
    whole = fetch_dataset(store, data, tmp_path / "data")
    assert names(whole) == {"data/train.csv", "data/test.csv"}
    one = fetch_dataset(store, f"{data}@v1/data/train.csv", tmp_path / "data")
    assert one.read_bytes() == b"a,b\n"
    assert names(fetch_dataset(store, f"{data}/data/", tmp_path)) == {"train.csv", "test.csv"}
    with pytest.raises(SourceNotFound, match="has nothing of use there"):
        fetch_dataset(store, f"{data}/none.csv", tmp_path / "data")


def test_data_of_files_and_folders(tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows/a.csv").write_text("a")
    store = opened(tmp_path)
    for uri in (f"file://{tmp_path}/rows", f"file://{tmp_path}/rows/a.csv"):
        assert fetch_dataset(store, uri, tmp_path / "to") == Path(uri.removeprefix("file://"))
    with pytest.raises(SourceNotFound, match="no such file"):
        fetch_dataset(store, f"file://{tmp_path}/none", tmp_path / "to")


def test_a_claim_is_read_where_it_is_mounted(tmp_path):
    (tmp_path / "pvc/models/bert").mkdir(parents=True)
    (tmp_path / "pvc/models/bert/config.json").write_text("{}")
    store = Storage({"pvc": lambda: ClaimStore(tmp_path / "pvc")})
    found = fetched(store, "pvc://models/bert", tmp_path)
    assert found == Fetched("pvc://models/bert", tmp_path / "pvc/models/bert")
    file = store.fetch_file("pvc://models/bert/config.json", tmp_path / "to")
    assert file == tmp_path / "pvc/models/bert/config.json"
    with pytest.raises(BadSpec, match="leads out of its claim"):
        store.fetch_folder("pvc://models/../../etc", tmp_path)
    with pytest.raises(SourceNotFound, match="no such file"):
        store.fetch_folder("pvc://models/none", tmp_path)
    with pytest.raises(BadSpec, match="only read from"):
        store.prepare("pvc://models/tuned")
    with pytest.raises(BadSpec, match=r"not mounted here.*embedtune run.*file://"):
        opened(tmp_path).fetch_folder("pvc://models/bert", tmp_path)


def test_a_card_comes_with_a_folder_of_s3(s3, tmp_path):
    s3.put("base/config.json", b"{}")
    uri = s3.put("base/README.md", b"---\nlicense: apache-2.0\n---\n").removesuffix("/README.md")
    store = open_storage(StorageSpec(), Event(), QUICK, s3.env)
    assert licence_of(fetched(store, uri, tmp_path).folder) == "apache-2.0"


def test_a_librarys_network_takes_its_weights_from_a_uri(tmp_path):
    weights = tmp_path / "own.pth"
    weights.write_bytes(b"w")
    given = {"backbone": "timm://resnet18", "weights": f"file://{weights}"}
    store = opened(tmp_path)
    assert fetch_backbone(store, Encoder.parse(given), tmp_path).weights == weights
    assert fetched(store, "torchvision://resnet50", tmp_path) == Fetched("torchvision://resnet50")
    assert fetched(store, "mlp://16", tmp_path) == Fetched("mlp://16")
    with pytest.raises(BadSpec, match=r"spec.model.weights: is for torchvision"):
        fetch_backbone(store, Encoder.parse(given | {"backbone": "hf://org/name"}), tmp_path)


def test_uris_in_parts():
    assert parse_hub_uri("hf://org/name@refs/pr/1") == HubUri("model", "org/name", "refs/pr/1")
    assert parse_hub_uri("hf://bert") == HubUri("model", "bert", None)
    dataset = parse_hub_uri("hf://datasets/org/rows@v1/a/b.csv")
    assert dataset == HubUri("dataset", "org/rows", "v1", "a/b.csv")
    with pytest.raises(TrainerError, match="names no repository"):
        parse_hub_uri("hf://datasets/rows")
