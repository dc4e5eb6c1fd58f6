"""Writes openclip/, a tiny random CLIP as open_clip saves it, and what open_clip makes with it.

    python -m venv /tmp/openclip && /tmp/openclip/bin/pip install open_clip_torch transformers
    PYTHONPATH=.:trainer:crds /tmp/openclip/bin/python -m tests.trainer.hub.openclip_fixture

Written by open_clip_torch 3.3.0. The embeddings in expected.safetensors are open_clip's, of texts
padded as it pads them and of images that its transform made.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.trainer.hub.clips import clip_tokenizer
from tests.trainer.hub.vision_families import SIDE, pictures

PLACE = Path(__file__).parent / "openclip"
TEXTS = ["a cat", "the big old dog that saw it all and more", "red"]
LENGTH = 16


def write(place: Path, *, quick_gelu: bool) -> None:
    """One folder."""
    from open_clip.model import CLIP
    from open_clip.push_to_hf_hub import save_for_hf
    from open_clip.transform import PreprocessCfg, image_transform_v2

    tokenizer = clip_tokenizer()
    vision = {
        "image_size": SIDE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8,
        "mlp_ratio": 2.5,
    }  # fmt: skip
    text = {
        "context_length": LENGTH, "vocab_size": len(tokenizer), "width": 24, "heads": 2,
        "layers": 2,
    }  # fmt: skip
    config: dict[str, Any] = {"embed_dim": 20, "vision_cfg": vision, "text_cfg": text}
    if quick_gelu:
        config["quick_gelu"] = True
    torch.manual_seed(0)
    model: Any = CLIP(**config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms are 0 and 1 at first
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.logit_scale.fill_(2.75)
    how = PreprocessCfg(size=SIDE)
    model.visual.image_mean, model.visual.image_std = how.mean, how.std
    save_for_hf(model, tokenizer, config, place, safe_serialization=True)
    ids = torch.zeros(len(TEXTS), LENGTH, dtype=torch.long)
    for row, given in zip(ids, tokenizer(TEXTS, truncation=True)["input_ids"], strict=True):
        row[: len(given)] = torch.tensor(given)
    transform = image_transform_v2(how, is_train=False)
    with torch.no_grad():
        images = torch.stack([transform(picture) for picture in pictures()])
        expected = {
            "text": model.encode_text(ids, normalize=True),
            "image": model.encode_image(images, normalize=True),
        }
    save_file(expected, place / "expected.safetensors")


if __name__ == "__main__":
    write(PLACE / "gelu", quick_gelu=False)
    write(PLACE / "quick-gelu", quick_gelu=True)
