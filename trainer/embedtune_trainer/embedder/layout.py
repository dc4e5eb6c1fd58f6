"""sentence-transformers' folder layout: what modules.json and its neighbours say, and back.

The names written are those of the first releases, which every release reads.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from safetensors.torch import save_file
from torch import Tensor, nn

from embedtune_trainer.embedder.layers import Dense, Layer, LayerNorm, Normalize
from embedtune_trainer.embedder.pooling import POOLINGS
from embedtune_trainer.embedder.weights import read_state
from embedtune_trainer.errors import UnsupportedModel

TYPES: Final = "sentence_transformers.models"
MODULES: Final = "modules.json"
SETTINGS: Final = "config_sentence_transformers.json"
TRANSFORMER: Final = "sentence_bert_config.json"
ROUTER: Final = "router_config.json"
POOLING_KEYS: Final = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)


@dataclass(frozen=True)
class Layout:
    """What a folder says besides its weights and its tokenizer."""

    transformer: Path
    """The folder of config.json, the weights and the tokenizer."""
    pooling: tuple[str, ...] = ()
    """Keys of POOLINGS; empty if the folder says nothing."""
    layers: tuple[Layer, ...] = ()
    """What stands behind the pooling."""
    normalize: bool | None = None
    """Whether embeddings have length 1; None if the folder says nothing."""
    max_length: int | None = None
    lower_case: bool = False
    output: str | None = None
    """Which output of an image network is pooled, or is the feature if nothing is pooled; None of a
    text encoder."""
    options: dict[str, Any] = field(default_factory=dict)
    """What an image network is made with besides its configuration."""
    settings: dict[str, Any] = field(default_factory=dict)
    """config_sentence_transformers.json: prompts, similarity."""

    @property
    def prompt(self) -> str:
        """What is put before every text by default."""
        name = self.settings.get("default_prompt_name")
        return str(self.settings.get("prompts", {}).get(name) or "") if name else ""


def read_layout(folder: Path, *, weights: bool = True) -> Layout:
    """Read a sentence-transformers folder, or a plain Hugging Face one.

    Args:
        folder: what lies there.
        weights: whether the layers get theirs; without, they stay as they are when new.

    Raises:
        UnsupportedModel: a module that is not known, or a file that is missing or broken.
    """
    if not (folder / MODULES).exists():
        return Layout(folder)
    modules = _json(folder / MODULES)
    if not isinstance(modules, list) or not all(isinstance(m, dict) for m in modules):
        raise UnsupportedModel(f"{folder.name}: {MODULES} is not a list of modules")
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
    places = [folder / str(module.get("path", "")) for module in modules]
    said = _json(places[0] / TRANSFORMER) if (places[0] / TRANSFORMER).exists() else {}
    output = said.get("modality_config", {}).get("image", {}).get("method_output_name")
    types = [str(module.get("type")) for module in modules]
    behind = _check_order(folder, types, kinds, pools=output is None)
    settings = _json(folder / SETTINGS) if (folder / SETTINGS).exists() else {}
    return Layout(
        places[0],
        pooling=_read_pooling(places[1], settings) if behind == 2 else (),
        layers=tuple(
            _read_layer(kind, place, weights=weights)
            for kind, place in zip(kinds[behind:], places[behind:], strict=True)
        ),
        normalize=kinds[-1] == "Normalize",
        max_length=said.get("max_seq_length"),
        lower_case=bool(said.get("do_lower_case")),
        output=output,
        settings=settings,
    )


def write_layout(folder: Path, layout: Layout, hidden_size: int) -> None:
    """Write everything but weights and tokenizer of the Transformer, which go into `folder`."""
    pooling = ["Pooling"] if layout.pooling else []
    kinds = ["Transformer", *pooling, *(type(layer).__name__ for layer in layout.layers)]
    names = [f"{i}_{kind}" if i else "" for i, kind in enumerate(kinds)]
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
    _write_modules(folder, zip(names, kinds, strict=True))
    _write(folder / SETTINGS, layout.settings)
    _write(folder / TRANSFORMER, _transformer(layout))
    if pooling:
        modes = {key: mode in layout.pooling for mode, key in POOLING_KEYS.items()}
        _write(folder / names[1] / "config.json", {"word_embedding_dimension": hidden_size} | modes)
    for name, layer in zip(names[1 + len(pooling) :], layout.layers, strict=True):
        if isinstance(layer, Dense):
            _write_dense(folder / name, layer)
        if isinstance(layer, LayerNorm):
            _write(folder / name / "config.json", {"dimension": layer.norm.normalized_shape[0]})
            _write_weights(folder / name, layer)


def write_router(folder: Path, sides: Sequence[str]) -> None:
    """Join folders inside this one into one model, which takes what either of them does.

    Args:
        folder: where modules.json and its neighbours are written.
        sides: names of folders in this layout, each that of the modality which it takes.
    """
    types: dict[str, str] = {}
    structure: dict[str, list[str]] = {}
    for side in sides:
        modules = _json(folder / side / MODULES)
        structure[side] = [str(PurePosixPath(side, module["path"])) for module in modules]
        types |= zip(structure[side], (module["type"] for module in modules), strict=True)
    parameters: dict[str, Any] = {
        "default_route": None,
        "allow_empty_key": True,
        "route_mappings": {},
    }
    _write(folder / ROUTER, {"types": types, "structure": structure, "parameters": parameters})
    _write_modules(folder, [("", "Router")])
    _write(folder / SETTINGS, {"similarity_fn_name": "cosine"})


def _write_modules(folder: Path, modules: Iterable[tuple[str, str]]) -> None:
    """modules.json, of the folder and the kind of each."""
    listed = [
        {"idx": i, "name": str(i), "path": name, "type": f"{TYPES}.{kind}"}
        for i, (name, kind) in enumerate(modules)
    ]
    _write(folder / MODULES, listed)


def _transformer(layout: Layout) -> dict[str, Any]:
    """The settings of the module that is the network."""
    if layout.output is None:
        return {"max_seq_length": layout.max_length, "do_lower_case": layout.lower_case}
    return {
        "transformer_task": "feature-extraction",
        "modality_config": {"image": {"method": "forward", "method_output_name": layout.output}},
        "module_output_name": "token_embeddings" if layout.pooling else "sentence_embedding",
        "model_kwargs": layout.options,
        "processor_kwargs": {"backend": "pil"},  # torchvision's resizing differs by up to 1e-2
    }


def _check_order(folder: Path, types: list[str], kinds: list[str], *, pools: bool) -> int:
    """The index of the first module behind the pooling, which must be there if `pools`."""
    known = ("Transformer", "Pooling", *_READERS)
    for given, kind in zip(types, kinds, strict=True):
        if kind not in known or not given.startswith("sentence_transformers."):
            raise UnsupportedModel(
                f"{folder.name}: {MODULES} has a module of type {given}; known are"
                f" {', '.join(known)} of sentence_transformers"
            )
    behind = 2 if pools or kinds[1:2] == ["Pooling"] else 1
    first = ["Transformer", "Pooling"][:behind]
    if kinds[:behind] != first or {"Transformer", "Pooling"} & set(kinds[behind:]):
        raise UnsupportedModel(
            f"{folder.name}: {MODULES} has {', '.join(kinds)}; known is Transformer, Pooling, and"
            f" then {', '.join(_READERS)}"
        )
    return behind


def _read_pooling(folder: Path, settings: dict[str, Any]) -> tuple[str, ...]:
    config = _json(folder / "config.json")
    if settings.get("default_prompt_name") and not config.get("include_prompt", True):
        raise UnsupportedModel(
            f"{folder.name}: leaves the prompt out of the pooling (include_prompt is false)"
        )
    if "pooling_mode" in config:
        given = config["pooling_mode"]
        modes = tuple(given) if isinstance(given, list) else (str(given),)
    else:
        modes = tuple(mode for mode, key in POOLING_KEYS.items() if config.get(key)) or ("mean",)
    if unknown := [mode for mode in modes if mode not in POOLINGS]:
        raise UnsupportedModel(f"{folder.name}: the pooling {unknown[0]!r} is not known")
    return modes


def _read_layer(kind: str, folder: Path, *, weights: bool) -> Layer:
    layer = _READERS[kind](folder)
    if weights and any(True for _ in layer.parameters()):
        layer.load_state_dict(_read_weights(folder))
    return layer


def _read_dense(folder: Path) -> Dense:
    config = _json(folder / "config.json")
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    name = activation.rsplit(".", 1)[-1]
    known = isinstance(found := getattr(nn, name, None), type) and issubclass(found, nn.Module)
    if not activation.startswith("torch.nn.") or not known:
        raise UnsupportedModel(f"{folder.name}: the activation {activation} is not one of torch.nn")
    other_keys = {config.get(key) for key in ("module_input_name", "module_output_name")}
    if config.get("use_residual") or other_keys - {None, "sentence_embedding"}:
        raise UnsupportedModel(f"{folder.name}: a Dense with a residual or of token vectors")
    return Dense(
        int(config["in_features"]),
        int(config["out_features"]),
        bias=bool(config.get("bias", True)),
        activation=name,
    )


def _read_layer_norm(folder: Path) -> LayerNorm:
    return LayerNorm(int(_json(folder / "config.json")["dimension"]))


def _read_normalize(_: Path) -> Normalize:
    return Normalize()


_READERS: Final[dict[str, Callable[[Path], Layer]]] = {
    "Dense": _read_dense,
    "LayerNorm": _read_layer_norm,
    "Normalize": _read_normalize,
}
"""What may stand behind the pooling."""


def _read_weights(folder: Path) -> dict[str, Tensor]:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).exists():
            return read_state(folder / name)
    raise UnsupportedModel(f"{folder.parent.name}: {folder.name} has no model.safetensors")


def _write_dense(folder: Path, layer: Dense) -> None:
    _write(
        folder / "config.json",
        {
            "in_features": layer.linear.in_features,
            "out_features": layer.linear.out_features,
            "bias": layer.linear.bias is not None,
            "activation_function": f"{type(layer.activation).__module__}.{layer.activation_name}",
        },
    )
    _write_weights(folder, layer)


def _write_weights(folder: Path, layer: nn.Module) -> None:
    weights = {k: v.detach().cpu().contiguous() for k, v in layer.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _json(path: Path) -> Any:  # noqa: ANN401  JSON
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnsupportedModel(f"{path.parent.name}/{path.name} is missing") from None
    except ValueError as error:
        raise UnsupportedModel(f"{path.parent.name}/{path.name} is not JSON: {error}") from None


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
