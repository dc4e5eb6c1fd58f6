"""A pre-trained network out of a Hugging Face folder, with every weight accounted for.

Code in the folder is never run. A head for another task (classification, masked words) is left
out; any other weight that is missing or superfluous is an error, since a layer that silently
starts at random cannot be told from one that was trained.
"""

import json
import logging
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import CONFIG_MAPPING, MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedModel
from transformers.utils import logging as transformers_logging

from embedtune_trainer.errors import UnsupportedModel

WEIGHTS: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
BROKEN: Final = (OSError, ValueError, RuntimeError, KeyError, SafetensorError)
OWN_CODE: Final = "brings its own code (auto_map), which is never run"
TOKEN_DIM: Final = {"altclip_text_model": "project_dim"}
"""Where the numbers of a token's vector are not the hidden layers'."""
CAUSAL: Final = "aimv2_text_model"
"""A kind of network whose tokens see those before them (Apple's ml-aim). transformers has that only
where it masks padding; without any, they would see all."""
UNUSED: Final = "pooler"
"""A layer over the first token that embeddings don't pass through; it may be missing."""


def load_backbone(folder: Path, seed: int) -> PreTrainedModel:
    """The network without its head, in float32, in evaluation mode.

    Args:
        folder: config.json and the weights, as safetensors (also sharded) or as a
            pytorch_model.bin, which is read with weights_only.
        seed: for a pooler that the folder lacks.

    Raises:
        UnsupportedModel: what is missing, or does not fit.
    """
    config = read_config(folder)
    maker = AutoModel if in_auto_model(type(config)) else network_class(type(config))
    return load_with(maker or AutoModel, folder, config, seed)


def network_class(config_class: type) -> Any:  # noqa: ANN401  transformers leaves it untyped
    """The class of a configuration's network.

    The halves of some CLIPs are not among AutoModel's, but are named like their configurations.
    """
    named = config_class.__name__.replace("Config", "Model")
    return MODEL_MAPPING.get(config_class, None) or getattr(transformers, named, None)


def in_auto_model(config_class: type) -> bool:
    """Whether AutoModel, and so sentence-transformers, loads a network of this configuration."""
    return MODEL_MAPPING.get(config_class, None) is not None


def token_dim(config: Any) -> int:  # noqa: ANN401  transformers leaves it untyped
    """Numbers of the vectors that a network over texts gives, by its configuration."""
    return int(getattr(config, TOKEN_DIM.get(config.model_type, "hidden_size")))


def load_with(maker: Any, folder: Path, config: Any, seed: int) -> PreTrainedModel:  # noqa: ANN401
    """The same for a class of transformers that is known already.

    Args:
        maker: the class, or AutoModel.
        folder: as for load_backbone.
        config: of the network.
        seed: for a pooler that the folder lacks.

    Raises:
        UnsupportedModel: what is missing, or does not fit.
    """
    if not any((folder / name).exists() for name in WEIGHTS):
        raise UnsupportedModel(f"{folder.name}: no weights: none of {', '.join(WEIGHTS)} is there")
    torch.manual_seed(seed)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)  # what is missing is said below
    try:
        backbone, info = maker.from_pretrained(
            str(folder),
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except UnpicklingError as error:
        raise UnsupportedModel(
            f"{folder.name}: its pickled weights hold more than tensors, which is code and is never"
            " run; save them as model.safetensors"
        ) from error
    except BROKEN as error:
        raise UnsupportedModel(f"{folder.name}: the weights cannot be loaded: {error}") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    _check_weights(folder, backbone, info)
    if isinstance(pooler := getattr(backbone, UNUSED, None), nn.Module):
        pooler.requires_grad_(False)
    _make_causal(backbone)
    result: PreTrainedModel = backbone.eval()
    return result


def position_limit(backbone: PreTrainedModel) -> int | None:
    """The most tokens that the backbone has positions for; None if there is no limit."""
    limit = getattr(backbone.config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    for module in backbone.modules():
        table = getattr(module, "position_embeddings", None)
        padding = getattr(module, "padding_idx", None)
        if isinstance(table, nn.Embedding) and isinstance(padding, int):
            return limit - padding - 1  # RoBERTa's first position comes after the padding's
    return limit


def usual_pooling(backbone: PreTrainedModel) -> str:
    """What is pooled by where a folder says nothing, as sentence-transformers has it.

    In a causal decoder only the last token has seen the whole text; else it is the mean.
    """
    causal = any(getattr(module, "is_causal", False) for module in backbone.modules())
    return "lasttoken" if causal and getattr(backbone.config, "is_causal", True) else "mean"


def read_config(folder: Path) -> Any:  # noqa: ANN401  transformers leaves it untyped
    """What config.json says of a network that transformers has.

    Raises:
        UnsupportedModel: it says nothing, or asks for what is not done.
    """
    path = folder / "config.json"
    if not path.exists():
        raise UnsupportedModel(
            f"{folder.name}: no config.json; a sentence-transformers or Hugging Face folder has one"
        )
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        kind = raw.get("model_type")
    except (ValueError, AttributeError) as error:
        raise UnsupportedModel(f"{folder.name}: config.json is not a JSON object") from error
    if kind not in CONFIG_MAPPING:
        own_code = f" and {OWN_CODE}" if raw.get("auto_map") else ""
        raise UnsupportedModel(
            f"{folder.name}: config.json names the model_type {kind!r}, which transformers does"
            f" not know{own_code}"
        )
    if raw.get("auto_map"):
        raise UnsupportedModel(
            f"{folder.name}: config.json {OWN_CODE}; if transformers' own {kind} is the same"
            " network, use a copy of the folder without auto_map"
        )
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    if config.is_encoder_decoder:
        raise UnsupportedModel(f"{folder.name}: {kind} is an encoder with a decoder")
    if hasattr(config, "use_cache"):
        config.use_cache = False
    return config


def _make_causal(network: nn.Module) -> None:
    """Let the attention of CAUSAL networks in it be causal whether or not there is padding."""
    for part in network.modules():
        if isinstance(part, PreTrainedModel) and part.config.model_type == CAUSAL:
            for attention in part.modules():
                if hasattr(attention, "is_causal"):
                    attention.is_causal = True  # type: ignore[assignment]


def _check_weights(folder: Path, backbone: PreTrainedModel, info: dict[str, Any]) -> None:
    missing = sorted(k for k in info["missing_keys"] if not k.startswith(UNUSED + "."))
    children = {name for name, _ in backbone.named_children()}
    superfluous = sorted(k for k in info["unexpected_keys"] if _inside(k, backbone, children))
    mismatched = sorted(str(k[0]) for k in info["mismatched_keys"])
    wrong = (("missing", missing), ("superfluous", superfluous), ("misshapen", mismatched))
    if said := "; ".join(f"{what}: {_list(keys)}" for what, keys in wrong if keys):
        raise UnsupportedModel(
            f"{folder.name}: the weights are not those of the {type(backbone).__name__} that"
            f" config.json describes: {said}"
        )


def _inside(key: str, backbone: PreTrainedModel, children: set[str]) -> bool:
    """Whether a weight that nothing takes belongs to the backbone and not to a head."""
    rest = key.removeprefix(f"{backbone.base_model_prefix}.")
    first = rest.split(".", 1)[0]
    if first == UNUSED or rest.endswith("position_ids"):
        return False
    return rest != key or first in children


def _list(keys: list[str]) -> str:
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
