"""Folders become embedders, and embedders folders that sentence-transformers reads alike."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

import localassets
from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.features import Feature
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.embedder.pooling import POOLINGS, Pooling
from embedtune_trainer.errors import BadSpec, UnsupportedModel
from embedtune_trainer.rows.table import Texts
from tests.trainer import tiny

TEXTS = ["the cat", "a big OLD dog one this that", "red", "new nice axe in paris, the", "saw"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny.backbone(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def folder(plain, tmp_path):
    return shutil.copytree(plain, tmp_path / "tiny")


def load(folder, seed=0, **model):
    encoder = Encoder.parse({"backbone": "s3://bases/tiny", **model})
    return load_encoder(Fetched("s3://bases/tiny", folder), encoder, seed)


def theirs(folder):
    model = SentenceTransformer(str(folder), device="cpu")
    return torch.from_numpy(model.encode(TEXTS, show_progress_bar=False))


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"pooling": "cls"},
        {"pooling": "max"},
        {"pooling": "last", "normalize": False},
        {"projection": {"dim": 8}},
        {"projection": {"dim": 48}, "normalize": False, "maxSeqLength": 4},
    ],
    ids=str,
)
def test_saved_it_embeds_the_same_in_sentence_transformers(plain, tmp_path, model):
    embedder = load(plain, **model)
    embedder.save(tmp_path / "saved")
    ours = embedder.encode(Texts(TEXTS))
    assert ours.shape == (len(TEXTS), embedder.embedding_dim)
    assert (theirs(tmp_path / "saved") - ours).abs().max() < 1e-5
    again = load(tmp_path / "saved").encode(Texts(TEXTS))  # the folder says all of it
    assert (again - ours).abs().max() < 1e-6


def test_minilm_embeds_as_in_sentence_transformers():
    folder = localassets.minilm()
    assert (theirs(folder) - load(folder).encode(Texts(TEXTS))).abs().max() < 1e-5


def test_encode_keeps_the_order(plain):
    embedder = load(plain)
    one_by_one = torch.cat([embedder.encode(Texts([text])) for text in TEXTS])
    assert (embedder.encode(Texts(TEXTS), batch_size=2) - one_by_one).abs().max() < 1e-6
    assert embedder.encode(Texts([])).shape == (0, 32)


@pytest.mark.parametrize("mode", POOLINGS)
def test_poolings_as_loops_with_padding_on_either_side(mode):
    torch.manual_seed(0)
    lengths, width = [1, 3, 5], 5
    vectors = [torch.randn(length, 4) for length in lengths]
    loops = {
        "cls": lambda v: v[0],
        "lasttoken": lambda v: v[-1],
        "max": lambda v: v.max(0).values,
        "mean": lambda v: v.mean(0),
        "mean_sqrt_len_tokens": lambda v: v.sum(0) / len(v) ** 0.5,
        "weightedmean": lambda v: (
            sum((i + 1) * x for i, x in enumerate(v)) / sum(range(1, len(v) + 1))
        ),
    }
    expected = torch.stack([loops[mode](v) for v in vectors])
    for left in (True, False):
        hidden, mask = torch.randn(3, width, 4), torch.zeros(3, width, dtype=torch.int64)
        for i, v in enumerate(vectors):
            place = slice(width - len(v), width) if left else slice(0, len(v))
            hidden[i, place], mask[i, place] = v, 1
        assert (Pooling((mode,))(Feature(hidden, mask)) - expected).abs().max() < 1e-5


def test_projection_is_seeded_and_takes_the_place_of_the_folders_own(plain, tmp_path):
    one, same, other = (load(plain, seed, projection={"dim": 8}) for seed in (1, 1, 2))
    weights = [e.layers[0].linear.weight for e in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    one.save(tmp_path / "saved")
    assert load(tmp_path / "saved").embedding_dim == 8
    assert load(tmp_path / "saved", projection={"dim": 5}).embedding_dim == 5


def test_frozen_stays_in_evaluation_mode_and_freezing_all_is_refused(plain):
    embedder = load(plain, freeze=["backbone"], projection={"dim": 8}).train()
    assert not embedder.backbone.network.training
    assert embedder.layers.training
    with pytest.raises(BadSpec, match="nothing is left to train"):
        load(plain, freeze=["backbone"])


def test_a_head_is_left_out(plain, folder):
    weights = load_file(folder / "model.safetensors")
    prefixed = {f"bert.{name}": value for name, value in weights.items() if "pooler" not in name}
    save_file(prefixed | {"classifier.weight": torch.ones(2, 32)}, folder / "model.safetensors")
    assert torch.equal(load(folder).encode(Texts(TEXTS)), load(plain).encode(Texts(TEXTS)))


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_missing_and_superfluous_weights_are_named(folder):
    weights = load_file(folder / "model.safetensors")
    gone = "encoder.layer.1.output.dense.bias"
    extra = "encoder.layer.7.output.dense.bias"
    weights[extra] = weights.pop(gone)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UnsupportedModel) as caught:
        load(folder)
    assert f"missing: {gone}" in str(caught.value)
    assert f"superfluous: {extra}" in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (lambda f: (f / "model.safetensors").unlink(), "no weights: none of model.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 99), "weights cannot be loaded"),
        (
            lambda f: change(
                f / "config.json", model_type="mystery", auto_map={"AutoModel": "m.M"}
            ),
            "'mystery', which transformers does not know and brings its own code",
        ),
        (
            lambda f: [p.unlink() for p in f.iterdir() if "token" in p.name or "vocab" in p.name],
            "tokenizer",
        ),
    ],
)
def test_what_is_missing_is_named(folder, damage, said):
    damage(folder)
    with pytest.raises(UnsupportedModel, match=said):
        load(folder)


def test_an_unknown_module_is_named(plain, tmp_path):
    load(plain).save(tmp_path / "saved")
    path = tmp_path / "saved" / "modules.json"
    path.write_text(path.read_text().replace("models.Normalize", "models.WordWeights"))
    with pytest.raises(UnsupportedModel, match=r"sentence_transformers\.models\.WordWeights"):
        load(tmp_path / "saved")


def test_longer_than_the_positions_is_refused(plain):
    with pytest.raises(BadSpec, match="maxSeqLength: 65 is more than the 64"):
        load(plain, maxSeqLength=65)
