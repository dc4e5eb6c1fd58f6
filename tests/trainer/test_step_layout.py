"""How the step lays out, compiles and grades the weights of networks of every kind."""

import pytest
import timm
import torch
import torchvision
from transformers import AlbertConfig, AlbertModel, DistilBertConfig, DistilBertModel

from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.model import Embedder
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.images import processor
from embedtune_trainer.rows.table import Images, LabelledRows
from embedtune_trainer.training import precision
from embedtune_trainer.training.defaults import default_learning_rate, is_convolutional
from embedtune_trainer.training.rates import _layer_paths, layers_below_top
from tests.trainer import stepping
from tests.trainer.embedder import visionnets
from tests.trainer.images import pictures

SIZE = 32


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mobilenet")
    weights = visionnets.write_weights("torchvision://mobilenet_v2", folder)
    return lambda: visionnets.load("torchvision://mobilenet_v2", weights, imageSize=SIZE)


def photos(count=12):
    found = [pictures.encoded(pictures.photo(SIZE, SIZE, seed)) for seed in range(count)]
    labels = [str(i % 3) for i in range(count)]
    return LabelledRows(Images(found, [f"{i}.png" for i in range(count)]), labels, "p.csv")


def gradients(embedder, **training):
    made = stepping.bench(
        *(Encoders.single(embedder), photos()),
        **{"objective": {"minerOptions": {"typeOfTriplets": "all"}}, "batchSize": 12, **training},
    )
    stepping.without_dropout(embedder)
    for norm in embedder.modules():  # whose statistics of few pixels magnify what is rounded
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.eval()
    return made, stepping.gradients(made, range(12))


def test_channels_last_is_the_same_network(mobilenet, monkeypatch):
    made, (loss, found) = gradients(mobilenet())
    weight = made.encoders.left.backbone.network.features[0][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    made.stepper.finish()
    assert all(p.is_contiguous() for p in made.encoders.module.parameters())
    monkeypatch.setattr(precision, "is_convolutional", lambda _: False)
    plain, (plain_loss, expected) = gradients(mobilenet())
    assert plain.encoders.left.backbone.network.features[0][0].weight.is_contiguous()
    assert loss == pytest.approx(plain_loss, abs=1e-5)
    assert stepping.difference(found, expected) < 1e-5


def test_a_resumed_network_is_the_uninterrupted_one(mobilenet):
    whole, first, second = (gradients(mobilenet(), ema={"decay": 0.9})[0] for _ in range(3))
    for step in range(4):
        whole.take(step, range(12))
    for step in range(2):
        first.take(step, range(12))
    weights = {name: value.contiguous() for name, value in first.weights().items()}
    second.encoders.module.load_state_dict(weights)
    second.stepper.load_state_dict(first.stepper.state_dict())
    for step in range(2, 4):
        second.take(step, range(12))
    assert stepping.equal(whole.weights(), second.weights())


@pytest.mark.parametrize(
    ("build", "count", "first"),
    [
        (torchvision.models.resnet18, 7, "conv1"),
        (torchvision.models.mobilenet_v2, 19, "features.0"),
        (torchvision.models.convnext_tiny, 8, "features.0"),
        (torchvision.models.vit_b_16, 12, "encoder.layers.encoder_layer_0"),
        (lambda: torchvision.models.vgg11().features, 8, "0"),
        (lambda: timm.create_model("vit_tiny_patch16_224"), 12, "blocks.0"),
        (lambda: timm.create_model("convnext_atto"), 4, "stages.0"),
        (lambda: DistilBertModel(DistilBertConfig()), 6, "transformer.layer.0"),
        (lambda: AlbertModel(AlbertConfig()), 1, "encoder.albert_layer_groups.0"),
    ],
    ids=[
        *("resnet", "mobilenet", "convnext", "vit", "vgg", "timm-vit", "timm-convnext"),
        *("distilbert", "albert"),
    ],
)
def test_layers_are_blocks_or_stages(build, count, first):
    with torch.device("meta"):
        paths = _layer_paths(build())
    assert len(paths) == count
    assert paths[0] == first


def test_depth_counts_from_the_embedding_down(mobilenet):
    below = layers_below_top(mobilenet())
    assert below["features.0.0.weight"] == 19
    assert below["features.18.0.weight"] == 1


def test_what_is_convolutional(mobilenet):
    embedder = mobilenet()
    assert is_convolutional(embedder)
    assert default_learning_rate(embedder) == 1e-4


def test_compiling_is_undone_at_the_end(mobilenet, monkeypatch):
    asked = {}
    monkeypatch.setattr(Embedder, "compile", lambda self, **options: asked.update(options))
    made, _ = gradients(mobilenet(), compile=True)
    assert asked == {"dynamic": None, "options": {"fallback_random": True}}
    made.encoders.left._compiled_call_impl = print
    made.stepper.finish()
    assert made.encoders.left._compiled_call_impl is None


def test_without_a_compiler_compile_is_refused(mobilenet, monkeypatch):
    monkeypatch.setattr(precision.shutil, "which", lambda _: None)
    with pytest.raises(BadSpec, match=r"spec\.training\.compile: torch\.compile needs a C\+\+"):
        gradients(mobilenet(), compile=True)


def test_a_picture_that_comes_twice_is_encoded_once(mobilenet):
    made, _ = gradients(mobilenet())
    (given,) = made.preparer(made.batch([0, 1, 2, 1]), variation=3)
    assert given.sizes == (3,)
    assert given.place_CB.tolist() == [[0, 1, 2, 1]]


@pytest.mark.parametrize(("micro_batch", "put"), [(None, [12]), (3, [3] * 7)])
def test_only_what_is_encoded_is_on_the_device(mobilenet, monkeypatch, micro_batch, put):
    """Pictures become what the network gets where they are put on the device: 4 parts of 3, three
    of them twice, since the last is encoded once.
    """
    given = []
    normalised = processor.normalised

    def counted(levels_BHW3, how):
        given.append(len(levels_BHW3))
        return normalised(levels_BHW3, how)

    monkeypatch.setattr(processor, "normalised", counted)
    made = stepping.bench(
        Encoders.single(mobilenet()), photos(), micro_batch=micro_batch, batchSize=12
    )
    inputs = made.preparer(made.batch(range(12)))
    assert given == ([] if micro_batch else put), "nothing is put there before its turn"
    stepping.gradients(made, range(12), inputs)
    assert given == put
