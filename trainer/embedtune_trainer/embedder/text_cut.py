"""`cut` for texts: a transformer that ends after one of its layers.

The layers behind it are taken out, and config.json says how many are left, so that the folder that
is saved needs no more than transformers.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from embedtune_trainer.embedder.cut import Cut, cut_at, run_to
from embedtune_trainer.embedder.trace import BATCH, first_tensor, trace
from embedtune_trainer.errors import BadSpec

FIELD = "spec.model.cut"


def end_after(network: PreTrainedModel, path: str) -> None:
    """Take out all layers behind this one.

    Raises:
        BadSpec: no such module; one that is no layer; or one whose output is not the network's
            once it is the last, since a normalisation follows.
    """
    ids_BT = torch.arange(BATCH * 5).reshape(BATCH, 5) % network.config.vocab_size
    was_trained = {name: p.requires_grad for name, p in network.named_parameters()}
    cut_at(trace(network, {"input_ids": ids_BT}), path)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(was_trained[name])
    above, _, number = path.rpartition(".")
    layers = network.get_submodule(above)
    if not isinstance(layers, nn.ModuleList) or len(layers) != network.config.num_hidden_layers:
        lists = [p for p, m in network.named_modules() if isinstance(m, nn.ModuleList)]
        raise BadSpec(
            f"{FIELD}: {path!r} is not a layer of the transformer; those are"
            f" {lists[0] if lists else 'the layers'}.0 to {network.config.num_hidden_layers - 1}"
        )
    with torch.no_grad():
        wanted_BTH = run_to(network, Cut(path, "output"), ids_BT)
        _shorten(network, layers, int(number) + 1)
        given_BTH = first_tensor(network(input_ids=ids_BT, return_dict=True))
    if not _same(wanted_BTH, given_BTH):
        raise BadSpec(
            f"{FIELD}: a {type(network).__name__} normalises what its last layer gives, so that the"
            f" output of {path} alone is no feature of a shorter one; leave cut at auto"
        )


def _shorten(network: PreTrainedModel, layers: nn.ModuleList, count: int) -> None:
    del layers[count:]
    network.config.num_hidden_layers = count
    if isinstance(kinds := getattr(network.config, "layer_types", None), list):
        network.config.layer_types = kinds[:count]


def _same(wanted: Tensor, given: Tensor | None) -> bool:
    return given is not None and torch.allclose(wanted, given, atol=1e-5, rtol=1e-4)
