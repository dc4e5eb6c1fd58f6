"""The usual text families: head left out, embeddings as in sentence-transformers, all trained."""

import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.load import load_encoder
from embedtune_trainer.rows.table import Texts
from embedtune_trainer.sources.fetch import Fetched
from tests.trainer.hub.text_families import TEXT_FAMILIES

TEXTS = ["the cat", "a big old dog one this that", "red", "new nice axe in paris the", "saw"]
EACH = pytest.mark.parametrize("family", TEXT_FAMILIES, ids=lambda family: family.name)


def load(folder, **model):
    encoder = Encoder.parse({"backbone": "hf://org/name", **model})
    return load_encoder(Fetched("hf://org/name", folder), encoder, seed=0)


def inputs_of(embedder, texts):
    table = embedder.processor.table(Texts(texts))
    return embedder.processor.batch(table, torch.arange(len(texts)).numpy(), torch.device("cpu"))


@EACH
def test_saved_it_embeds_the_same_in_sentence_transformers(family, tmp_path):
    embedder = load(family.save(tmp_path / "hub"))
    assert type(embedder.backbone.network).__name__ == family.network
    assert embedder.embedding_dim == 32
    assert embedder.pooling.modes == (family.pooling,)
    ours = embedder.encode(Texts(TEXTS))
    one_by_one = torch.cat([embedder.encode(Texts([text])) for text in TEXTS])
    assert (one_by_one - ours).abs().max() < 1e-5  # padding plays no part
    assert torch.pdist(ours).min() > 1e-3
    embedder.save(tmp_path / "saved")
    model = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    theirs = torch.from_numpy(model.encode(TEXTS, show_progress_bar=False))
    assert (theirs - ours).abs().max() < 1e-5


@EACH
def test_what_is_trainable_gets_a_gradient(family, tmp_path):
    embedder = load(family.save(tmp_path / "hub"), projection={"dim": 8}).train()
    embedder(inputs_of(embedder, TEXTS)).square().sum(1).sub(0.5).sum().backward()
    left_out = [
        name
        for name, parameter in embedder.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert not left_out
    assert embedder.layers[0].linear.weight.grad is not None


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", TEXT_FAMILIES[-2:], ids=lambda family: family.name)
def test_a_decoder_sees_only_what_came_before(family, side, tmp_path):
    """So the mask is causal; and the last token's vector, wherever the padding is."""
    embedder = load(family.save(tmp_path / "hub"), normalize=False)
    embedder.processor._tokenizer.padding_side = side
    tokens = inputs_of(embedder, ["the", "the cat that saw"])
    changed = tokens.ids_BT.clone()
    place = int(tokens.mask_BT[1].nonzero()[-1])
    changed[1, place] = (changed[1, place] + 1) % 200
    network = embedder.backbone.network
    with torch.no_grad():
        before, after = (
            network(input_ids=ids, attention_mask=tokens.mask_BT).last_hidden_state
            for ids in (tokens.ids_BT, changed)
        )
    assert (before[1, :place] - after[1, :place]).abs().max() < 1e-6
    assert (before[1, place] - after[1, place]).abs().max() > 1e-3
    pooled = embedder(tokens)
    assert (pooled[1] - before[1, place]).abs().max() < 1e-5
    alone = embedder.encode(Texts(["the"]))[0]
    assert (pooled[0] - alone).abs().max() < 1e-5
