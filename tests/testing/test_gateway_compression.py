from __future__ import annotations

import importlib
import json
import sys
import types
import zlib
from typing import Any

import pytest

from voicepool.testing import gateway_compression
from voicepool.testing.gateway_compression import make_encoder

PAYLOADS = [json.dumps({"n": number, "text": "voice " * number}).encode() for number in range(5)]


def test_zlib_stream_is_one_stream_cut_at_sync_flushes() -> None:
    encoder, inflater = make_encoder("zlib-stream"), zlib.decompressobj()
    for payload in PAYLOADS:
        data, binary = encoder.encode(payload)
        assert binary
        assert data.endswith(b"\x00\x00\xff\xff")
        assert inflater.decompress(data) == payload
    # The second message leans on the first: alone it is no zlib stream.
    with pytest.raises(zlib.error):
        zlib.decompressobj().decompress(encoder.encode(PAYLOADS[0])[0])


def test_without_compression_payloads_are_text() -> None:
    for name in (None, "unheard-of"):
        encoder = make_encoder(name)
        assert encoder.name == "none"
        assert encoder.encode(PAYLOADS[1]) == (PAYLOADS[1], False)


def test_payload_compression_takes_only_long_payloads_and_shares_nothing() -> None:
    encoder = make_encoder(None)
    encoder.compresses_payloads = True
    long = b'"' + b"x" * 2000 + b'"'
    for _ in range(2):
        data, binary = encoder.encode(long)
        assert binary
        assert zlib.decompress(data) == long
    assert encoder.encode(b"{}") == (b"{}", False)


def test_payload_compression_is_off_under_transport_compression() -> None:
    encoder = make_encoder("zlib-stream")
    encoder.compresses_payloads = True
    long = b"x" * 2000
    assert zlib.decompressobj().decompress(encoder.encode(long)[0]) == long


class _Stream:
    """Stands for a zstd compressor of either kind of module: marks what it was told to do."""

    FLUSH_BLOCK = 1

    def compress(self, data: bytes, mode: int | None = None) -> bytes:
        return b"<" + data + (b">" if mode == self.FLUSH_BLOCK else b"")

    def flush(self, mode: int) -> bytes:
        return b">" if mode == self.FLUSH_BLOCK else b""

    def compressobj(self) -> _Stream:
        return self


@pytest.mark.parametrize("present", ["compression.zstd", "backports.zstd", "zstandard"])
def test_zstd_stream_flushes_a_block_for_each_payload(present: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType(present)
    module.ZstdCompressor, module.COMPRESSOBJ_FLUSH_BLOCK = _Stream, _Stream.FLUSH_BLOCK
    monkeypatch.setattr(gateway_compression, "_import", lambda name: module if name == present else None)
    encoder = make_encoder("zstd-stream")
    assert encoder.name == "zstd-stream"
    assert encoder.encode(b"one") == (b"<one>", True)
    assert encoder.encode(b"two") == (b"<two>", True)


def test_zstd_stream_falls_back_to_text_without_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_compression, "_import", lambda _name: None)
    assert make_encoder("zstd-stream").encode(b"{}") == (b"{}", False)


def _installed_zstd() -> str | None:
    for name in ("compression.zstd", "backports.zstd", "zstandard"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        return name
    return None


@pytest.mark.skipif(_installed_zstd() is None, reason="no zstd module is installed")
def test_zstd_stream_can_be_read_by_the_module_that_is_installed() -> None:
    encoder = make_encoder("zstd-stream")
    name = _installed_zstd()
    assert name is not None
    decompressor: Any = sys.modules[name].ZstdDecompressor()
    if name == "zstandard":
        decompressor = decompressor.decompressobj()
    for payload in PAYLOADS:
        data, binary = encoder.encode(payload)
        assert binary
        assert decompressor.decompress(data) == payload
