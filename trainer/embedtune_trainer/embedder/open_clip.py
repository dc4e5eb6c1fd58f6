"""open_clip's folders as transformers would have saved them, where both have the same network.

That is CLIP as OpenAI made it: two transformers, the class token of an image, the token that ends a
text, a linear projection of each. Only names differ, and query, key and value lie in one tensor.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessor

from embedtune_trainer.embedder.layout import TOKENIZER_FILES
from embedtune_trainer.embedder.tokens import load_tokenizer
from embedtune_trainer.embedder.weights import read_state
from embedtune_trainer.errors import UnsupportedModel

CONFIG: Final = "open_clip_config.json"
WEIGHTS: Final = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
VISION: Final = frozenset(
    ("image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio", "patch_dropout")
)
"""Settings of an image tower that CLIPVisionModel has, too, or that only matter in training."""
TEXT: Final = frozenset(("context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"))
HARMLESS: Final = frozenset(
    ("hf_tokenizer_name", "tokenizer_kwargs", "hf_model_pretrained", "output_tokens")
)
"""Settings of a tower that say nothing of the network."""
USUAL: Final[dict[str, tuple[Any, ...]]] = {
    "pool_type": ("tok", "argmax"),
    "proj_type": ("linear",),
    "pos_embed_type": ("learnable",),
    "eos_id": (2,),
    "pad_id": (0,),
    "block_type": (None, "default"),
}
"""Settings with what open_clip does where they are left out, which is what transformers does."""
MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
STD: Final = (0.26862954, 0.26130258, 0.27577711)
"""OpenAI's, which open_clip takes where a folder names none."""

_BLOCK: Final = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_NAMES: Final = {
    "logit_scale": "logit_scale",
    "text_projection": "text_projection.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.proj": "visual_projection.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
_TRANSPOSED: Final = ("text_projection", "visual.proj")


def is_open_clip(folder: Path) -> bool:
    """Whether open_clip wrote a folder, and transformers did not, too."""
    if not (folder / CONFIG).exists():
        return False
    try:
        own = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return not (isinstance(own, dict) and own.get("model_type"))


@contextmanager
def as_transformers(folder: Path) -> Iterator[Path]:
    """The folder, or a temporary one with the same in transformers' layout.

    Raises:
        UnsupportedModel: open_clip's, of a network that transformers' CLIPModel is not.
    """
    if not is_open_clip(folder):
        yield folder
        return
    with TemporaryDirectory() as place:
        target = Path(place) / folder.name
        target.mkdir()
        _convert(folder, target)
        yield target


def config_of(folder: Path) -> CLIPConfig:
    """What transformers' config.json of the same network would say.

    Raises:
        UnsupportedModel: it is a network that transformers' CLIPModel is not.
    """
    model, _, vision, text = _described(folder)
    return _config(model, vision, text)


_Settings = dict[str, Any]


def _described(folder: Path) -> tuple[_Settings, _Settings, _Settings, _Settings]:
    """What is said of the whole, of the preprocessing, of the images' half and of the texts'."""
    try:
        given = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        model, images = dict(given["model_cfg"]), dict(given.get("preprocess_cfg") or {})
        vision, text = dict(model["vision_cfg"]), dict(model["text_cfg"])
    except (ValueError, KeyError, TypeError) as error:
        raise UnsupportedModel(
            f"{folder.name}/{CONFIG}: does not describe a CLIP: {error}"
        ) from None
    _check_towers(folder, model, vision, text)
    return model, images, vision, text


def _convert(folder: Path, target: Path) -> None:
    model, images, vision, text = _described(folder)
    config = _config(model, vision, text)
    config.architectures = ["CLIPModel"]
    config.save_pretrained(str(target))
    _preprocessing(folder, vision.get("image_size", 224), images).save_pretrained(str(target))
    _convert_tokenizer(folder, target, last=_words(text) - 1)
    _convert_weights(folder, target)


def _convert_tokenizer(folder: Path, target: Path, *, last: int) -> None:
    for name in TOKENIZER_FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)
    end = load_tokenizer(target, lower_case=False).eos_token_id
    if end != last:
        raise UnsupportedModel(
            f"{folder.name}: its tokenizer ends texts by {end}; known are CLIP's own, which end"
            f" them by the last of the words, here {last}"
        )


def _convert_weights(folder: Path, target: Path) -> None:
    path = next((folder / name for name in WEIGHTS if (folder / name).exists()), None)
    if path is None:
        raise UnsupportedModel(f"{folder.name}: no weights: none of {', '.join(WEIGHTS)} is there")
    state = renamed(read_state(path), folder.name)
    save_file(state, target / "model.safetensors", metadata={"format": "pt"})


def renamed(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """open_clip's tensors under the names of transformers' CLIPModel.

    Args:
        state: by their names in open_clip.
        source: what messages call it.

    Raises:
        UnsupportedModel: one of them is no part of a CLIP.
    """
    found: dict[str, Tensor] = {}
    unknown: list[str] = []
    for given, tensor in state.items():
        name = given.removeprefix("text.")  # of a text tower that is a module of its own
        if name in _NAMES:
            found[_NAMES[name]] = tensor.T if name in _TRANSPOSED else tensor
        elif parts := _of_block(name, tensor):
            found |= parts
        elif name != "attn_mask":
            unknown.append(given)
    if unknown:
        raise UnsupportedModel(
            f"{source}: its weights are not those of the network that {CONFIG} describes:"
            f" superfluous: {', '.join(unknown[:5])}"
        )
    return {name: tensor.contiguous() for name, tensor in found.items()}


def _of_block(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """What one tensor of a block is in transformers; empty if it is none."""
    match = re.fullmatch(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)", name)
    if match is None:
        return {}
    tower, number, path, kind = match.groups()
    layer = f"{'vision' if tower else 'text'}_model.encoder.layers.{number}"
    if path == "attn.in_proj":
        parts = zip("qkv", tensor.chunk(3), strict=True)
        return {f"{layer}.self_attn.{letter}_proj.{kind}": part for letter, part in parts}
    return {f"{layer}.{_BLOCK[path]}.{kind}": tensor} if path in _BLOCK else {}


def _config(model: Mapping[str, Any], vision: dict[str, Any], text: dict[str, Any]) -> CLIPConfig:
    act = "quick_gelu" if model.get("quick_gelu") else "gelu"
    width = int(vision.get("width", 768))
    return CLIPConfig(
        projection_dim=int(model["embed_dim"]),
        vision_config={
            "hidden_size": width,
            "num_hidden_layers": int(vision.get("layers", 12)),
            "num_attention_heads": width // int(vision.get("head_width", 64)),
            "intermediate_size": int(width * vision.get("mlp_ratio", 4.0)),
            "image_size": vision.get("image_size", 224),
            "patch_size": int(vision.get("patch_size", 16)),
            "hidden_act": act,
        },
        text_config={
            "hidden_size": int(text.get("width", 512)),
            "num_hidden_layers": int(text.get("layers", 12)),
            "num_attention_heads": int(text.get("heads", 8)),
            "intermediate_size": int(text.get("width", 512) * text.get("mlp_ratio", 4.0)),
            "max_position_embeddings": int(text.get("context_length", 77)),
            "vocab_size": _words(text),
            "eos_token_id": _words(text) - 1,
            "hidden_act": act,
        },
    )


def _words(text: Mapping[str, Any]) -> int:
    return int(text.get("vocab_size", 49408))


def _check_towers(
    folder: Path, model: Mapping[str, Any], vision: Mapping[str, Any], text: Mapping[str, Any]
) -> None:
    """Refuse what is another network, by its name in open_clip's configuration."""
    found: list[str] = []
    if "multimodal_cfg" in model:
        found.append("multimodal_cfg (CoCa)")
    if model.get("init_logit_bias") is not None:
        found.append("init_logit_bias (SigLIP)")
    if vision.get("timm_model_name"):
        found.append(f"the image tower timm {vision['timm_model_name']}")
    elif isinstance(vision.get("layers"), list):
        found.append("the image tower ModifiedResNet")
    else:
        found += _unknown("vision_cfg", vision, VISION)
        if not isinstance(vision.get("image_size", 224), int):
            found.append(f"vision_cfg.image_size: {vision['image_size']}")
    if text.get("hf_model_name"):
        found.append(f"the text tower {text['hf_model_name']} of Hugging Face")
    else:
        found += _unknown("text_cfg", text, TEXT)
    if found:
        raise UnsupportedModel(
            f"{folder.name}: of open_clip's networks only CLIP's own two transformers can be taken"
            f" apart; this one has {'; '.join(found)}. spec.model.text and image take any two"
            " backbones, timm:// among them"
        )


def _unknown(where: str, tower: Mapping[str, Any], known: frozenset[str]) -> list[str]:
    return [
        f"{where}.{name}: {value}"
        for name, value in tower.items()
        if name not in known | HARMLESS and value and value not in USUAL.get(name, ())
    ]


def _preprocessing(folder: Path, side: int, given: Mapping[str, Any]) -> CLIPImageProcessor:
    mode, filter_ = given.get("resize_mode") or "shortest", given.get("interpolation") or "bicubic"
    if mode not in ("shortest", "squash"):
        raise UnsupportedModel(f"{folder.name}/{CONFIG}: preprocess_cfg.resize_mode: {mode}")
    square = {"height": side, "width": side}
    return CLIPImageProcessor(
        size=square if mode == "squash" else {"shortest_edge": side},
        crop_size=square,
        do_center_crop=mode == "shortest",
        resample=2 if filter_ == "bilinear" else 3,
        image_mean=list(given.get("mean") or MEAN),
        image_std=list(given.get("std") or STD),
    )
