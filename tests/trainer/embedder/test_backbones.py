"""Every classification network of torchvision and every tenth of timm's becomes an embedder."""

import pytest
import torch
from torch import nn

from embedtune_api.spec import Encoder
from embedtune_trainer.embedder.analysis import bottleneck_cuts
from embedtune_trainer.embedder.heads import find_head
from embedtune_trainer.embedder.surgery import examine
from embedtune_trainer.embedder.trace import BATCH, bottlenecks, trace, used_parameters
from embedtune_trainer.errors import BadSpec
from tests.trainer.embedder import backbones, visionnets

NO_HEAD = (
    "timm://aimv2_",
    "timm://naflexvit_huge_patch16_radio",
    "timm://vit_base_patch14_dinov2",
    "timm://vit_base_patch16_dinov3",
    "timm://vit_base_patch16_siglip",
    "timm://vit_giant_patch14_dinov2",
    "timm://vit_giantopt_patch16_siglip",
    "timm://vit_large_patch16_siglip",
    "timm://vit_pe_spatial",
    "timm://vit_so400m",
)
"""timm's networks that are published without a classifier."""
NO_VECTOR = ("timm://qwen3_vit_306m_enc", "torchvision://squeezenet")
"""What goes into the last layer is a token or a place each, and is averaged."""


@pytest.mark.slow
@pytest.mark.parametrize("uri", [*backbones.torchvision_uris(), *backbones.timm_uris()])
def test_the_head_is_gone_and_the_dimension_right(uri):
    found = backbones.look(uri)
    assert (found.head is None) == uri.startswith(NO_HEAD)
    assert not any(name.startswith(f"{found.head}.") for name in found.left)
    assert found.dim in found.wanted
    assert found.shape[:2] == (BATCH, found.dim) or found.shape[2] == found.dim
    assert (found.surgery.shape.kind == "vector") != uri.startswith(NO_VECTOR)


def test_the_page_is_up_to_date():
    assert backbones.PAGE.read_text(encoding="utf-8") == backbones.page(), "run make generate"


@pytest.mark.parametrize(
    ("uri", "pooling", "cut", "kind", "dim", "prefix"),
    [
        ("torchvision://resnet50", "gem", "output of layer4", "places", 2048, 0),
        ("torchvision://swin_t", "mean", "output of permute", "places", 768, 0),
        ("torchvision://vit_b_16", "mean", "output of encoder", "tokens", 768, 1),
        ("torchvision://vgg11", "max", "output of avgpool", "places", 512, 0),
        ("timm://swin_tiny_patch4_window7_224", "mean", "timm calls features", "places", 768, 0),
        ("timm://vit_small_patch14_reg4_dinov2", "mean", "timm calls features", "tokens", 384, 5),
        ("timm://pit_s_distilled_224", "mean", "output of transformers", "places", 576, 0),
    ],
)
def test_a_pooling_takes_what_is_not_pooled_yet(uri, pooling, cut, kind, dim, prefix):
    model = backbones.library_model(uri, None)
    surgery = examine(model, model.preprocessing.size).decide(
        Encoder(backbone=uri, pooling=pooling)
    )
    assert cut in str(surgery.cut)
    assert (surgery.shape.kind, surgery.shape.dim, surgery.shape.prefix) == (kind, dim, prefix)


def test_several_maps_are_refused():
    uri = "timm://crossvit_tiny_240"
    model = backbones.library_model(uri, None)
    with pytest.raises(BadSpec, match="crossvit_tiny_240 gives several maps of places"):
        examine(model, model.preprocessing.size).decide(Encoder(backbone=uri, pooling="mean"))


@pytest.mark.parametrize(
    ("uri", "size", "pooling"),
    [
        ("torchvision://mobilenet_v3_small", 64, "auto"),
        ("torchvision://squeezenet1_1", 64, "auto"),
        ("torchvision://shufflenet_v2_x0_5", 64, "max"),
        ("torchvision://mnasnet0_5", 64, "auto"),
        ("timm://test_vit", 160, "auto"),
        ("timm://test_vit", 160, "max"),
        ("timm://test_convnext", 160, "max"),
        ("timm://levit_128s", 224, "auto"),
        ("timm://deit_tiny_distilled_patch16_224", 224, "auto"),
    ],
)
def test_gradients_reach_all_that_is_trained(tmp_path, uri, size, pooling):
    weights = visionnets.write_weights(uri, tmp_path)
    spec = {} if uri.startswith("timm") else {"imageSize": size}
    embedder = visionnets.load(uri, weights, pooling=pooling, **spec).train()
    target = torch.randn(2, embedder.embedding_dim)
    (embedder(visionnets.images(size)) * target).sum().backward()
    trained = {n: p for n, p in embedder.named_parameters() if p.requires_grad}
    assert trained
    assert [name for name, p in trained.items() if p.grad is None] == []


class Plain(nn.Module):
    """A network of no library: a residual block, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.inside = nn.Conv2d(4, 4, 1)
        self.after = nn.Conv2d(4, 6, 1)
        self.logits = nn.Linear(6, 3)

    def forward(self, x):
        x = self.stem(x)
        x = self.after(x + self.inside(x))
        return self.logits(x.mean((2, 3))).reshape(-1, 3)


def test_a_head_is_found_by_structure():
    run = trace(Plain(), torch.empty(BATCH, 3, 8, 8, device="cpu"))
    head = find_head(run.network, run)
    assert (head.path, head.why) == (
        "logits",
        "the last linear layer to run, and its output is the network's",
    )


def test_only_what_all_passes_through_is_a_bottleneck():
    run = trace(Plain(), torch.zeros(BATCH, 3, 8, 8))
    nodes = bottlenecks(run.output.grad_fn, run.source)
    through = [c.path for c in run.calls if c.path and any(c.node is node for node in nodes)]
    assert through == ["stem", "after", "logits"]


def test_on_shapes_alone_the_same_is_found_as_with_numbers():
    def looked(network, device):
        run = trace(network, torch.zeros(BATCH, 3, 8, 8, device=device))
        used = used_parameters(run.output.grad_fn)
        return (
            [(call.path, tuple(call.output.shape)) for call in run.calls],
            bottleneck_cuts(run, find_head(network, run)),
            [name for name, parameter in network.named_parameters() if id(parameter) in used],
        )

    network = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Flatten(2), nn.LayerNorm(36)),
        *(nn.Softmax(1), nn.Unflatten(2, (6, 6)), nn.GroupNorm(2, 4), nn.Flatten()),
        nn.Linear(144, 5),
    )
    with_numbers = looked(network, "cpu")
    assert looked(network.to("meta"), "meta") == with_numbers
    assert with_numbers[2] == [name for name, _ in network.named_parameters()]
