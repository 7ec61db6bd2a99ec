"""``python -m mmtp_jax`` is the command ``mmtp``."""

import sys

from mmtp_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
