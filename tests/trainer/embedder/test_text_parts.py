"""GeM over a text's tokens, and a transformer that ends early: saved and loaded alike."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, ModernBertConfig, ModernBertModel

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.load import Fetched, load_encoder
from embedtune_trainer.embedder.text_cut import end_after
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.rows.table import Texts

TEXTS = ["the cat", "a big OLD dog one this that", "red"]


def load(folder, **model):
    encoder = Encoder.parse({"backbone": "s3://bases/tiny", **model})
    return load_encoder(Fetched("s3://bases/tiny", folder=folder), encoder, 0)


def test_gem_is_saved_and_loaded_with_its_p(tiny_backbone, tmp_path):
    spec = {"pooling": "gem", "poolingOptions": {"learnable": True}, "projection": {"dim": 8}}
    embedder = load(tiny_backbone, maxSeqLength=5, **spec)
    with torch.no_grad():
        embedder.pooling.gem.p.add_(1.7)
    ours = embedder.encode(Texts(TEXTS))
    embedder.save(tmp_path / "saved")
    assert not (tmp_path / "saved" / "modules.json").exists()  # it would say another pooling
    AutoModel.from_pretrained(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert (again.encode(Texts(TEXTS)) - ours).abs().max() < 1e-6
    assert again.processor.max_length == 5
    mean = load(tmp_path / "saved", pooling="mean")
    assert (mean.encode(Texts(TEXTS)) - ours).abs().max() > 1e-3


def test_a_cut_ends_the_transformer_there(tiny_backbone, tmp_path):
    whole = load(tiny_backbone, normalize=False)
    inputs = whole.processor.batch(
        whole.processor.table(Texts(TEXTS)), torch.arange(3).numpy(), whole.device
    )
    network = whole.backbone.network
    layers = network(
        input_ids=inputs.ids_BT, attention_mask=inputs.mask_BT, output_hidden_states=True
    ).hidden_states
    embedder = load(tiny_backbone, normalize=False, cut="encoder.layer.0")
    assert torch.allclose(embedder.backbone(inputs).values, layers[1], atol=1e-6)
    assert len(embedder.backbone.network.encoder.layer) == 1
    embedder.save(tmp_path / "saved")
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(
        TEXTS, show_progress_bar=False
    )
    assert (torch.from_numpy(theirs) - embedder.encode(Texts(TEXTS))).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        ("encoder.layer.7", r"'encoder.layer.7' is no module .*near it: encoder.layer"),
        ("embeddings", "'embeddings' is not a layer of the transformer; those are encoder.layer.0"),
    ],
)
def test_a_cut_that_is_none_is_refused(tiny_backbone, cut, said):
    with pytest.raises(BadSpec, match=said):
        load(tiny_backbone, cut=cut)


def test_a_cut_before_a_normalisation_is_refused():
    config = ModernBertConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        pad_token_id=0,
    )
    network = ModernBertModel(config).eval()
    with pytest.raises(BadSpec, match="a ModernBertModel normalises what its last layer gives"):
        end_after(network, "layers.1")
