"""`python -m tests.hostile NAME > FILE` writes the input of that name."""

from __future__ import annotations

import sys

from . import make

sys.stdout.buffer.write(make(sys.argv[1]))
