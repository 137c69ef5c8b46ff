"""``python -m nc_runner`` is ``nc-run``."""

import sys

from nc_runner.commands.run import main

if __name__ == "__main__":
    sys.exit(main())
