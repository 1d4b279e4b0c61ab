"""``python -m keraslm.cli`` is the ``keraslm`` command."""

import sys

from keraslm.cli import main

sys.exit(main())
