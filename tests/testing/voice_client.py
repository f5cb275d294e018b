"""A voice client written by hand for these tests: websocket, one UDP socket, every mode, no DAVE."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import socket
import struct
from collections.abc import Callable, Coroutine
from fractions import Fraction
from typing import Any, Self

import av
import nacl.bindings
import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from voicepool.testing.certificates import CertificateAuthority
from voicepool.testing.voice_grant import VoiceGrant
from voicepool.testing.voice_server import DiscordVoiceServer

SILENCE = b"\xf8\xff\xfe"
SAFETY_S = 30.0
GCM = "aead_aes256_gcm_rtpsize"


def run(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine test; the time limit only keeps a broken one from hanging, and no task may be left."""

    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        async def guarded() -> None:
            async with asyncio.timeout(SAFETY_S):
                await test(*args, **kwargs)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left

        asyncio.run(guarded())

    # pytest must see the wrapped function's fixtures, not its coroutine nature.
    return wrapper


def seal(mode: str, key: bytes, header: bytes, opus: bytes, counter: int) -> bytes:
    """Seal one packet, written from the table in Discord's documentation."""
    suffix = struct.pack(">I", counter)
    if mode in {"aead_aes256_gcm_rtpsize", "aead_aes256_gcm"}:
        return header + AESGCM(key).encrypt(suffix + bytes(8), opus, header) + suffix
    if mode == "aead_xchacha20_poly1305_rtpsize":
        sealed = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            opus, header, suffix + bytes(20), key
        )
        return header + sealed + suffix
    if mode in {"xsalsa20_poly1305_lite", "xsalsa20_poly1305_lite_rtpsize"}:
        return header + nacl.bindings.crypto_secretbox(opus, suffix + bytes(20), key) + suffix
    if mode == "xsalsa20_poly1305_suffix":
        nonce = os.urandom(24)
        return header + nacl.bindings.crypto_secretbox(opus, nonce, key) + nonce
    assert mode == "xsalsa20_poly1305"
    return header + nacl.bindings.crypto_secretbox(opus, header + bytes(12), key)


class VoiceClient:
    """Each step is a method, so that a test can leave one out or do it wrong."""

    def __init__(self, server: DiscordVoiceServer, grant: VoiceGrant) -> None:
        self.server = server
        self.grant = grant
        self.websocket: ClientConnection | None = None
        self.messages: list[dict[str, Any]] = []
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.setblocking(False)
        self.udp.bind(("127.0.0.1", 0))
        self.ssrc = 0
        self.voice: tuple[str, int] = ("", 0)
        self.mode = GCM
        self.key = b""
        self.sequence = 0xFFF0
        self.timestamp = 0xFFFF_F000
        self.counter = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.udp.close()
        if self.websocket is not None:
            await self.websocket.close()

    async def open(self, query: str = "/?v=8", authority: CertificateAuthority | None = None) -> None:
        ca = authority or self.server._authority
        assert ca is not None
        self.websocket = await connect(
            f"wss://{self.grant.endpoint}{query}",
            ssl=ca.client_context(),
            compression=None,
            ping_interval=None,
        )

    async def send(self, op: object, d: object) -> None:
        await self.send_raw(json.dumps({"op": op, "d": d}))

    async def send_raw(self, message: str | bytes) -> None:
        assert self.websocket is not None
        await self.websocket.send(message)

    async def receive(self, op: int) -> dict[str, Any]:
        """Return the next message with that opcode; all are kept in `messages`."""
        assert self.websocket is not None
        while True:
            message: dict[str, Any] = json.loads(await self.websocket.recv())
            self.messages.append(message)
            if message["op"] == op:
                return message

    async def closed(self) -> int:
        """Read to the end and return the close code."""
        try:
            await self.receive(-1)
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd else 1006
        raise AssertionError

    async def identify(self, **changes: object) -> None:
        await self.send(
            0,
            {
                "server_id": str(self.grant.guild_id),
                "user_id": str(self.grant.user_id),
                "session_id": self.grant.session_id,
                "token": self.grant.token,
                "max_dave_protocol_version": 0,
                **changes,
            },
        )

    async def ready(self) -> dict[str, Any]:
        data: dict[str, Any] = (await self.receive(2))["d"]
        self.ssrc, self.voice = data["ssrc"], (data["ip"], data["port"])
        return data

    def send_discovery(self, ssrc: int | None = None, kind: int = 1, length: int = 70) -> None:
        self.send_datagram(struct.pack(">HHI64sH", kind, length, self.ssrc if ssrc is None else ssrc, b"", 0))

    async def discovered(self) -> tuple[str, int]:
        answer = await asyncio.get_running_loop().sock_recv(self.udp, 2048)
        kind, length, ssrc, address, port = struct.unpack(">HHI64sH", answer)
        assert (kind, length, ssrc) == (2, 70, self.ssrc)
        return address.rstrip(b"\0").decode(), port

    async def select(self, mode: str = GCM, **changes: object) -> None:
        address, port = self.udp.getsockname()
        await self.send(
            1, {"protocol": "udp", "data": {"address": address, "port": port, "mode": mode, **changes}}
        )

    async def described(self) -> dict[str, Any]:
        data: dict[str, Any] = (await self.receive(4))["d"]
        self.mode, self.key = data["mode"], bytes(data["secret_key"])
        return data

    async def speak(self, flags: object = 1, **changes: object) -> None:
        await self.send(5, {"speaking": flags, "delay": 0, "ssrc": self.ssrc, **changes})

    async def beat(self, **changes: object) -> int:
        await self.send(3, {"t": 7, "seq_ack": -1, **changes})
        answer: int = (await self.receive(6))["d"]["t"]
        return answer

    async def resume(self, seq_ack: int, **changes: object) -> None:
        await self.send(
            7,
            {
                "server_id": str(self.grant.guild_id),
                "session_id": self.grant.session_id,
                "token": self.grant.token,
                "seq_ack": seq_ack,
                **changes,
            },
        )

    async def join(self, mode: str = GCM, flags: int = 1) -> None:
        """Do everything up to the first packet, in order; a heartbeat proves that op 5 was read."""
        await self.open()
        await self.identify()
        await self.ready()
        self.send_discovery()
        await self.discovered()
        await self.select(mode)
        await self.described()
        await self.speak(flags)
        await self.beat()

    def packet(self, opus: bytes, *, counter: int | None = None, ssrc: int | None = None) -> bytes:
        header = struct.pack(
            ">BBHII", 0x80, 0x78, self.sequence, self.timestamp, self.ssrc if ssrc is None else ssrc
        )
        if counter is None:
            counter, self.counter = self.counter, self.counter + 1
        return seal(self.mode, self.key, header, opus, counter)

    def advance(self, samples: int = 960) -> None:
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + samples) & 0xFFFF_FFFF

    def send_frame(self, opus: bytes) -> None:
        self.send_datagram(self.packet(opus))
        self.advance()

    def send_datagram(self, datagram: bytes) -> None:
        self.udp.sendto(datagram, self.voice)


async def play(client: VoiceClient, frames: list[bytes]) -> None:
    """Send all frames at once, then five of silence."""
    for frame in [*frames, *[SILENCE] * 5]:
        client.send_frame(frame)


def tone(seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Make a stereo tone, the right channel at half volume."""
    at = np.arange(round(48_000 * seconds)) / 48_000
    left = np.sin(2 * np.pi * hertz * at + 3 * np.sin(2 * np.pi * 2 * at)) * 12_000
    return np.stack([left, left / 2], axis=1).astype(np.int16)


def encode_opus(pcm: np.ndarray[Any, np.dtype[np.int16]]) -> list[bytes]:
    """Encode stereo PCM into 20 ms Opus packets with PyAV's libopus."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate = 48_000
    encoder.layout = "stereo"
    encoder.format = "s16"
    encoder.bit_rate = 128_000
    packets = []
    for start in range(0, len(pcm), 960):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(pcm[start : start + 960]).reshape(1, -1), format="s16", layout="stereo"
        )
        frame.sample_rate = 48_000
        frame.pts = start
        frame.time_base = Fraction(1, 48_000)
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets


def best_correlation(
    received: np.ndarray[Any, np.dtype[np.int16]], sent: np.ndarray[Any, np.dtype[np.int16]]
) -> float:
    """Correlate over lags of up to 20 ms: libopus delays by 6.5 ms."""
    length = min(len(received), len(sent)) - 960
    reference = sent[:length].astype(float).ravel()
    return max(
        float(np.corrcoef(received[lag : lag + length].astype(float).ravel(), reference)[0, 1])
        for lag in range(0, 960, 8)
    )
