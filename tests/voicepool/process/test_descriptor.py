"""File descriptors that are held, let go, and not shared with forks and children."""

from __future__ import annotations

import os
import warnings

import pytest

from voicepool._process.descriptor import Descriptor


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_it_is_closed_once() -> None:
    reading, writing = Descriptor.pipe()
    number = reading.fileno()
    assert reading.is_held
    reading.let_go()
    assert not reading.is_held
    assert not is_open(number)
    # Somebody else gets the number, and keeps it.
    other = os.dup(writing.fileno())
    assert other == number
    reading.let_go()
    assert is_open(number)
    os.close(other)
    writing.let_go()


def test_one_that_was_let_go_has_no_number() -> None:
    with Descriptor.pipe()[0] as reading:
        pass
    with pytest.raises(ValueError, match="let go"):
        reading.fileno()


def test_it_is_let_go_at_the_end_of_a_block() -> None:
    reading, writing = Descriptor.pipe()
    with reading:
        with writing:
            os.write(writing.fileno(), b"x")
        assert os.read(reading.fileno(), 10) == b"x"
        assert os.read(reading.fileno(), 10) == b""
    assert not reading.is_held


def test_all_can_be_let_go() -> None:
    pipes = [Descriptor.pipe() for _ in range(3)]
    numbers = [end.fileno() for pipe in pipes for end in pipe]
    Descriptor.let_all_go()
    assert not any(is_open(number) for number in numbers)
    assert not any(end.is_held for pipe in pipes for end in pipe)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_holds_none() -> None:
    reading, writing = Descriptor.pipe()
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
        with reading:
            writing.let_go()
            # The fork lives, and does not keep the pipe open.
            assert os.read(reading.fileno(), 100) == b""
    finally:
        os.close(told)
        os.close(may_end)
        os.waitpid(child, 0)


def test_no_process_that_is_started_inherits_it() -> None:
    for end in Descriptor.pipe():
        with end:
            assert not os.get_inheritable(end.fileno())
