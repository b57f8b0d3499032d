"""`python -m kltheory` is the command `kltheory`."""

import sys

from kltheory.cli import main

if __name__ == "__main__":
    sys.exit(main())
