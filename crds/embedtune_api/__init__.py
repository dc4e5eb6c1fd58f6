"""The nouns of embedtune, shared by the operator and the trainer.

`spec` and `status` are the FineTuneJob resource, `contract` is what operator and trainer promise
each other (exit codes, paths, metric names, the result message), `reasons` names every reason a
condition or an event can carry, and `schema` writes the CustomResourceDefinition from these types.

Nothing here imports more than pydantic, so that both sides can afford it.
"""

GROUP = "embedtune.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "FineTuneJob"
PLURAL = "finetunejobs"

__version__ = "0.1.0"
"""Of the whole distribution; the images hold the code without its package metadata."""
