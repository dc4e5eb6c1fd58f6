"""`python -m embedtune_operator`."""

import asyncio
import os
import sys

from embedtune_operator import log
from embedtune_operator.runtime import Operator
from embedtune_operator.settings import BadSettings, Settings

NESTING_MAX = 10_000
"""Deepest JSON that the API server reads and stores: encoding/json's limit. Python's own limit is a
tenth of it, so that one runtime with an affinity nested like that would end the watch of all."""


def main() -> int:
    """Run the operator; 2 if its settings are wrong."""
    sys.setrecursionlimit(2 * NESTING_MAX)
    try:
        settings = Settings.from_env(os.environ)
    except BadSettings as error:
        sys.stderr.write(f"embedtune-operator: {error}\n")
        return 2
    log.set_up(settings.log_format)
    asyncio.run(Operator(settings).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
