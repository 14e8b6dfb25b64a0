"""`python -m throughtime` is the command `throughtime`."""

from __future__ import annotations

import sys

from throughtime.interfaces.cli import main

if __name__ == "__main__":
    sys.exit(main())
