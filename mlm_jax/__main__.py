"""`python -m mlm_jax COMMAND ...`."""

import sys

from mlm_jax.cli.main import main

if __name__ == "__main__":
  sys.exit(main())
