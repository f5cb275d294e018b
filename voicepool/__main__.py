"""``python -m voicepool`` is the ``voicepool`` command."""

from __future__ import annotations

import sys

from voicepool.cli import main

if __name__ == "__main__":
    sys.exit(main())
