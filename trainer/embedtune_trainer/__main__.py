"""`python -m embedtune_trainer`: what the training pod runs."""

import sys

from embedtune_trainer.runtime import main

if __name__ == "__main__":
    sys.exit(main())
