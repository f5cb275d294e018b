"""How the child of a `StandInProcess` is started."""

from __future__ import annotations

__all__ = ["command", "environment", "own_group"]

import os
import site
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def command(options: Sequence[str]) -> tuple[str, ...]:
    """Return the command line of the stand-ins, by this interpreter.

    ``-P`` keeps the current directory out of the import path: a file ``websockets.py`` beside a test must not
    be taken for the library.
    """
    return (sys.executable, "-P", "-m", "voicepool.testing", *options)


def environment() -> dict[str, str]:
    """Return the environment in which the child imports the same voicepool as this process."""
    found = dict(os.environ)
    home = str(Path(__file__).absolute().parents[2])
    if home not in {*site.getsitepackages(), site.getusersitepackages()}:
        # A checkout, found through the current directory or `sys.path`, which the child does not inherit.
        others = found.get("PYTHONPATH")
        found["PYTHONPATH"] = f"{home}{os.pathsep}{others}" if others else home
    return found


def own_group() -> dict[str, Any]:
    """Return what keeps Ctrl-C in the terminal from the child: it leaves when its stdin closes."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}
