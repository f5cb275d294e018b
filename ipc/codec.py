"""Message to frames and back, and how large a message may be.

Pure. One encoder and one decoder a direction, built once. The first frame of a message is its msgpack; the
frames after it are attachments and pass through untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import msgspec

from voicepool.ipc.commands import Command
from voicepool.ipc.errors import UnreadableMessageError, WireError
from voicepool.ipc.events import Event

__all__ = [
    "COMMANDS",
    "DEFAULT_ATTACHMENT_BYTES",
    "EVENTS",
    "EVENT_ATTACHMENT_BYTES",
    "MAX_ATTACHMENTS",
    "MAX_MESSAGE_BYTES",
    "Codec",
    "MessageTooLargeError",
    "excess",
]

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Bound on the msgpack of one message; attachments have bounds of their own."""
MAX_ATTACHMENTS: Final = 256
"""Most frames beside the first: 100 ms of pushed Opus in packets of 2.5 ms are 40."""
EVENT_ATTACHMENT_BYTES: Final = 4 * 1024 * 1024
"""The most that the attachments of one event may come to: what workers hear is sent in short pieces."""
DEFAULT_ATTACHMENT_BYTES: Final = 256 * 1024 * 1024
"""The most that the attachments of one command may come to, where the config does not say it."""

_MessageT = TypeVar("_MessageT")
_ENCODER: Final = msgspec.msgpack.Encoder()


class MessageTooLargeError(WireError):
    """A message is larger than the other side would read; it was not sent."""


def excess(frames: Sequence[bytes], max_attachment_bytes: int) -> str:
    """Say in what a message is too large, as half a sentence; empty if it is not.

    Parameters
    ----------
    frames
        The message and its attachments.
    max_attachment_bytes
        The most that all attachments may come to.
    """
    if frames and len(frames[0]) > MAX_MESSAGE_BYTES:
        return f"a message of {len(frames[0])} bytes; at most {MAX_MESSAGE_BYTES} are read"
    if len(frames) > MAX_ATTACHMENTS + 1:
        return f"a message with {len(frames) - 1} attachments; at most {MAX_ATTACHMENTS} are read"
    attached_bytes = sum(map(len, frames)) - (len(frames[0]) if frames else 0)
    if attached_bytes > max_attachment_bytes:
        return f"a message with {attached_bytes} bytes attached; at most {max_attachment_bytes} are read"
    return ""


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

    def decode(
        self, frames: Sequence[bytes], *, max_attachment_bytes: int = DEFAULT_ATTACHMENT_BYTES
    ) -> tuple[_MessageT, list[bytes]]:
        """Return the message and its attachments.

        Parameters
        ----------
        frames
            As they came.
        max_attachment_bytes
            The most that all attachments may come to.

        Raises
        ------
        UnreadableMessageError
            The frames are no message of this direction, or too many. The text holds no payload.
        """
        if not frames:
            msg = "a message without a frame"
            raise UnreadableMessageError(msg)
        if too_large := excess(frames, max_attachment_bytes):
            raise UnreadableMessageError(too_large)
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
