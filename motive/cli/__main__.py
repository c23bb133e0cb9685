"""``python -m motive.cli`` is ``motive``."""

from __future__ import annotations

import sys

from motive.cli.main import main

sys.exit(main())
