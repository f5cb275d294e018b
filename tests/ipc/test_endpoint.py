"""Where a worker finds its bot."""

from __future__ import annotations

import sys

import msgspec
import pytest
import zmq

from voicepool.ipc.endpoint import (
    Bootstrap,
    BotKeys,
    CurveKeys,
    has_curve,
    has_unix_sockets,
    new_bot_keys,
    new_curve_keys,
)
from voicepool.ipc.ids import WorkerId


def test_a_bootstrap_is_one_line_and_comes_back() -> None:
    bootstrap = Bootstrap(
        address="ipc:///tmp/x.sock",
        worker=WorkerId("w0.1"),
        start_token="start\nwith a line break",
        curve=CurveKeys("server", "client", "key"),
    )
    line = bootstrap.to_line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert Bootstrap.from_line(line) == bootstrap


def test_no_secret_of_it_shows() -> None:
    bootstrap = Bootstrap(
        address="ipc:///x", worker=WorkerId("w0.1"), start_token="key 1", curve=CurveKeys("a", "b", "key 2")
    )
    assert "key" not in repr(bootstrap)
    assert "key 2" not in repr(bootstrap.curve)
    assert "key 3" not in repr(BotKeys("public", "key 3", "w0.1"))


@pytest.mark.parametrize("line", [b"", b"\n", b"{}", b'{"address": 5}', b"hello\n", b"\xff\xfe"])
def test_any_other_line_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        Bootstrap.from_line(line)


def test_each_worker_gets_keys_that_fit() -> None:
    bot = new_bot_keys("w0.1")
    first, second = new_curve_keys(bot.public), new_curve_keys(bot.public)
    assert first.client_secret != second.client_secret
    assert first.server_public == bot.public
    assert zmq.curve_public(bot.secret.encode()) == bot.public.encode()
    assert zmq.curve_public(first.client_secret.encode()) == first.client_public.encode()


def test_what_zeromq_can_do_is_known() -> None:
    assert has_unix_sockets() == (sys.platform != "win32")
    assert has_curve()
