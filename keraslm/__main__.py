"""``python -m keraslm`` is the ``keraslm`` command."""

import sys

from keraslm.cli import main

sys.exit(main())
