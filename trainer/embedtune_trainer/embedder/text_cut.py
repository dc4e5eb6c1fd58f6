"""`cut` for texts: a transformer that ends after one of its layers.

The layers behind it are taken out, and config.json says how many are left, so that the folder that
is saved needs no more than transformers.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from embedtune_trainer.embedder.backbone import position_limit, usual_pooling
from embedtune_trainer.embedder.cut import cut_at
from embedtune_trainer.embedder.trace import BATCH, Trace, trace
from embedtune_trainer.errors import BadSpec

FIELD = "spec.model.cut"
TOKENS = 16
"""Length of the texts that are traced."""


def end_after(network: PreTrainedModel, path: str) -> None:
    """Take out all layers behind this one; the network may be on the meta device.

    Raises:
        BadSpec: no such module; one that is no layer; or one whose output is not the network's
            once it is the last, since a normalisation follows.
    """
    was_trained = {name: p.requires_grad for name, p in network.named_parameters()}
    inputs = probe(network)
    cut_at(trace(network, inputs), path)
    above, _, number = path.rpartition(".")
    layers = network.get_submodule(above)
    if not _is_all_layers(layers, network):
        lists = [p for p, m in network.named_modules() if isinstance(m, nn.ModuleList)]
        raise BadSpec(
            f"{FIELD}: {path!r} is not a layer of the transformer; those are"
            f" {lists[0] if lists else 'the layers'}.0 to {network.config.num_hidden_layers - 1}"
        )
    _shorten(network, layers, int(number) + 1)
    run = trace(network, inputs)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(was_trained[name])
    if path not in possible_cuts(network, run):
        raise BadSpec(
            f"{FIELD}: a {type(network).__name__} normalises what its last layer gives, so that the"
            f" output of {path} alone is no feature of a shorter one; leave cut at auto"
        )


def possible_cuts(network: PreTrainedModel, run: Trace) -> tuple[str, ...]:
    """Paths of the layers that the network can end after, as it ends after its last one.

    Args:
        network: a transformer.
        run: of it.
    """
    for path, module in network.named_modules():
        if _is_all_layers(module, network):
            names = tuple(f"{path}.{name}" for name, _ in module.named_children())
            calls = run.of(names[-1])
            if calls and calls[-1].output is run.output:
                return names
    return ()


def probe(network: PreTrainedModel) -> dict[str, Tensor]:
    """Inputs for a trace: BATCH texts of any words, on the network's device."""
    tokens = min(TOKENS, position_limit(network) or TOKENS)
    ids = torch.arange(BATCH * tokens, device=network.device) % network.config.vocab_size
    inputs = {"input_ids": ids.reshape(BATCH, tokens)}
    if usual_pooling(network) == "lasttoken":
        # without a mask a decoder would ask for numbers, which do not exist on the meta device
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return inputs


def _is_all_layers(module: nn.Module, network: PreTrainedModel) -> bool:
    return isinstance(module, nn.ModuleList) and len(module) == network.config.num_hidden_layers


def _shorten(network: PreTrainedModel, layers: nn.Module, count: int) -> None:
    if isinstance(layers, nn.ModuleList):
        del layers[count:]
    network.config.num_hidden_layers = count
    if isinstance(kinds := getattr(network.config, "layer_types", None), list):
        network.config.layer_types = kinds[:count]
