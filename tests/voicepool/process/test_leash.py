"""What ties a worker to the life of its bot."""

from __future__ import annotations

import os

from voicepool._process.descriptor import Descriptor
from voicepool._process.leash import Leash


def test_a_line_waits_and_the_end_comes_when_it_is_let_go() -> None:
    leash, end = Leash.with_line(b"hello\n")
    with end:
        assert os.read(end.fileno(), 100) == b"hello\n"
        leash.let_go()
        leash.let_go()
        assert os.read(end.fileno(), 100) == b""


def test_forks_give_it_up() -> None:
    """By way of `Descriptor`, whose test has a real one."""
    leash, end = Leash.with_line(b"x")
    copy = os.dup(end.fileno())
    try:
        Descriptor.let_all_go()
        assert not leash.is_held
        assert os.read(copy, 100) == b"x"
        assert os.read(copy, 100) == b""
    finally:
        os.close(copy)
