from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.endpoint import parse_endpoint


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("sweetwater-12345.discord.media:2048", "wss://sweetwater-12345.discord.media:2048/?v=8"),
        ("wss://sweetwater-12345.discord.media:2048", "wss://sweetwater-12345.discord.media:2048/?v=8"),
        ("wss://voice.example/", "wss://voice.example:443/?v=8"),
        ("voice.example", "wss://voice.example:443/?v=8"),
        ("127.0.0.1:1234", "wss://127.0.0.1:1234/?v=8"),
        ("[::1]:1234", "wss://[::1]:1234/?v=8"),
        ("ws://127.0.0.1:80", "ws://127.0.0.1:80/?v=8"),
    ],
)
def test_host_and_port_are_kept(text: str, url: str) -> None:
    assert parse_endpoint(text).url == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wss://",
        ":443",
        "voice.example:0",
        "voice.example:65536",
        "voice.example:port",
        "https://voice.example",
        "voice.example/path",
        "voice.example?v=4",
        "user:password@voice.example",
        "voice example",
        "voice.example\n",
        "[::1",
    ],
)
def test_anything_else_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(CallError, match="is no voice endpoint") as caught:
        parse_endpoint(text)
    assert caught.value.code is ErrorCode.CONNECT_REFUSED


@given(st.text(max_size=400))
def test_noise_gives_an_endpoint_or_the_error(text: str) -> None:
    try:
        endpoint = parse_endpoint(text)
    except CallError as error:
        assert len(error.text) < 600  # noqa: PT017 - either outcome is right
    else:
        assert endpoint.host
        assert 0 < endpoint.port < 65_536
