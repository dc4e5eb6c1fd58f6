"""Other tools that are told of a training while it goes: spec.loggers.

`forward` is the Reporter that hands everything to a tool on a thread of its own; `wandb` and
`mlflow` talk to the tools, whose packages are extras and imported there alone.
"""

from embedtune_trainer.reporting.loggers.opened import open_loggers

__all__ = ["open_loggers"]
