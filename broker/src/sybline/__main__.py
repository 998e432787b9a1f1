"""`sybline` and `python -m sybline`."""

import sys

from sybline.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
