"""[pure] The three ways a gateway payload goes out: text, zlib-stream, zstd-stream, and payload compression.

With transport compression everything is binary, HELLO included: clients treat a text frame as a fatal error
then. One compressor lives as long as its connection (Gateway, Transport Compression).
"""

from __future__ import annotations

__all__ = ["PayloadEncoder", "make_encoder"]

import importlib
import zlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_PAYLOAD_COMPRESSION_FROM_BYTES: Final = 1024
"""Not every payload is compressed per packet (Gateway, Payload Compression); short ones would only grow."""


class PayloadEncoder:
    """Turns one gateway payload into the bytes of one websocket message.

    Parameters
    ----------
    name
        ``"zlib-stream"``, ``"zstd-stream"`` or ``"none"``: what is active.
    compress
        Maps a payload to the next piece of the stream; None without transport compression.
    """

    def __init__(self, name: str, compress: Callable[[bytes], bytes] | None) -> None:
        self.name = name
        self.compresses_payloads = False
        """Set when IDENTIFY asked for payload compression; ignored under transport compression."""
        self._compress = compress

    def encode(self, payload: bytes) -> tuple[bytes, bool]:
        """Encode a payload; the flag tells whether the frame is binary."""
        if self._compress is not None:
            return self._compress(payload), True
        if self.compresses_payloads and len(payload) >= _PAYLOAD_COMPRESSION_FROM_BYTES:
            return zlib.compress(payload), True
        return payload, False


def make_encoder(compress: str | None) -> PayloadEncoder:
    """Make the encoder of one connection from the ``compress`` of its URL.

    A name that Discord does not know, and ``zstd-stream`` without a zstd module, mean no compression. A
    client can ask for zstd only where such a module is, and in a test that is here.
    """
    if compress == "zlib-stream":
        return PayloadEncoder(compress, _zlib_stream())
    if compress == "zstd-stream" and (stream := _zstd_stream()) is not None:
        return PayloadEncoder(compress, stream)
    return PayloadEncoder("none", None)


def _zlib_stream() -> Callable[[bytes], bytes]:
    deflater = zlib.compressobj()

    def compress(payload: bytes) -> bytes:
        return deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)

    return compress


def _zstd_stream() -> Callable[[bytes], bytes] | None:
    # The standard library from 3.14 on, its backport, and the older package that discord.py prefers.
    for name in ("compression.zstd", "backports.zstd"):
        if (module := _import(name)) is not None:
            compressor = module.ZstdCompressor()

            def compress(payload: bytes, compressor: Any = compressor) -> bytes:
                piece: bytes = compressor.compress(payload, mode=compressor.FLUSH_BLOCK)
                return piece

            return compress
    if (module := _import("zstandard")) is not None:
        stream, flush_block = module.ZstdCompressor().compressobj(), module.COMPRESSOBJ_FLUSH_BLOCK

        def compress_with_zstandard(payload: bytes) -> bytes:
            piece: bytes = stream.compress(payload) + stream.flush(flush_block)
            return piece

        return compress_with_zstandard
    return None


def _import(name: str) -> Any | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None
