"""What ties a worker to the life of its bot."""

from __future__ import annotations

import os
import warnings

import pytest

from voicepool._process.leash import Leash


def test_a_line_waits_and_the_end_comes_when_it_is_let_go() -> None:
    leash, end = Leash.with_line(b"hello\n")
    try:
        assert os.read(end, 100) == b"hello\n"
        leash.let_go()
        leash.let_go()
        assert os.read(end, 100) == b""
    finally:
        os.close(end)


def test_all_can_be_let_go() -> None:
    ends = [Leash.with_line(b"x") for _ in range(3)]
    Leash.let_all_go()
    for _, end in ends:
        assert os.read(end, 100) == b"x"
        assert os.read(end, 100) == b""
        os.close(end)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_holds_no_worker() -> None:
    leash, end = Leash.with_line(b"x")
    may_end, told = os.pipe()
    with warnings.catch_warnings():
        # That other threads do not come along (Python 3.12 warns) is what is meant.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(told)
        os.read(may_end, 1)
        os._exit(0)
    try:
        leash.let_go()
        assert os.read(end, 100) == b"x"
        # The fork lives, and does not keep the pipe open.
        assert os.read(end, 100) == b""
    finally:
        for descriptor in (told, may_end, end):
            os.close(descriptor)
        os.waitpid(child, 0)


def test_no_process_that_is_started_inherits_it() -> None:
    leash, end = Leash.with_line(b"x")
    assert leash._end is not None
    assert not os.get_inheritable(leash._end)
    leash.let_go()
    os.close(end)
