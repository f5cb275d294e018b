"""Message to frames and back.

Pure. One encoder and one decoder a direction, built once. The first frame of a message is its msgpack; the
frames after it are attachments and pass through untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import msgspec

from voicepool.ipc.commands import Command
from voicepool.ipc.errors import UnreadableMessageError
from voicepool.ipc.events import Event

__all__ = ["COMMANDS", "EVENTS", "MAX_MESSAGE_BYTES", "Codec"]

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Bound on the msgpack of one message; attachments have a bound of their own in the config."""

_MessageT = TypeVar("_MessageT")
_ENCODER: Final = msgspec.msgpack.Encoder()


class Codec(Generic[_MessageT]):
    """Reads and writes the messages of one direction.

    Parameters
    ----------
    union
        The tagged union of the direction's messages.
    """

    def __init__(self, union: object) -> None:
        self._decoder: msgspec.msgpack.Decoder[_MessageT] = msgspec.msgpack.Decoder(union)

    def encode(self, message: _MessageT, attachments: Sequence[bytes] = ()) -> list[bytes]:
        """Return the frames of a message."""
        return [_ENCODER.encode(message), *attachments]

    def decode(self, frames: Sequence[bytes]) -> tuple[_MessageT, list[bytes]]:
        """Return the message and its attachments.

        Raises
        ------
        UnreadableMessageError
            The frames are no message of this direction. The text holds no payload.
        """
        if not frames:
            msg = "a message without a frame"
            raise UnreadableMessageError(msg)
        if len(frames[0]) > MAX_MESSAGE_BYTES:
            msg = f"a message of {len(frames[0])} bytes; at most {MAX_MESSAGE_BYTES} are read"
            raise UnreadableMessageError(msg)
        try:
            message = self._decoder.decode(frames[0])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            msg = f"{len(frames[0])} bytes are no message of this contract: {error}"
            raise UnreadableMessageError(msg) from None
        return message, list(frames[1:])


COMMANDS: Final[Codec[Command]] = Codec(Command)
"""Bot to worker."""
EVENTS: Final[Codec[Event]] = Codec(Event)
"""Worker to bot."""
