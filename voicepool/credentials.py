"""What Discord's main gateway hands a bot for one call, in a form that no library owns."""

from __future__ import annotations

import dataclasses
import operator
from typing import Final

from voicepool.ipc.commands import Credentials
from voicepool.ipc.ids import ChannelId, GuildId, UserId
from voicepool.ipc.secret import REDACTED

__all__ = ["VoiceCredentials"]

_LARGEST_SNOWFLAKE: Final = (1 << 64) - 1
_LONGEST_TEXT_CHARS: Final = 1_024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class VoiceCredentials:
    """The answer to joining a voice channel: a Voice State Update and a Voice Server Update in one.

    Attributes
    ----------
    guild_id, channel_id, user_id
        Snowflakes; the user is the bot itself. Any integer type is taken and kept as `int`.
    session_id
        Of the bot's own Voice State Update. Never shown in a repr.
    endpoint
        Of the Voice Server Update: ``host`` or ``host:port``, with ``wss://`` in front or not. Discord sends
        null when the server is gone: wait for the next update then, there is nothing to connect to.
    token
        Of the Voice Server Update. Never shown in a repr.

    Raises
    ------
    TypeError
        A field has a type of its own making; the text names the field, never the value of a secret.
    ValueError
        A field is empty or out of range.
    """

    guild_id: int
    channel_id: int
    user_id: int
    session_id: str
    endpoint: str
    token: str

    def __post_init__(self) -> None:
        """Check every field."""
        for name in ("guild_id", "channel_id", "user_id"):
            object.__setattr__(self, name, _snowflake(name, getattr(self, name)))
        for name in ("session_id", "endpoint", "token"):
            _check_text(name, getattr(self, name))

    def __repr__(self) -> str:
        return (
            f"VoiceCredentials(guild_id={self.guild_id}, channel_id={self.channel_id}, "
            f"user_id={self.user_id}, endpoint={self.endpoint!r}, session_id={REDACTED}, token={REDACTED})"
        )

    def to_wire(self) -> Credentials:
        """Return them as the message to a worker carries them."""
        return Credentials(
            guild_id=GuildId(self.guild_id),
            channel_id=ChannelId(self.channel_id),
            user_id=UserId(self.user_id),
            session_id=self.session_id,
            endpoint=self.endpoint,
            token=self.token,
        )


def _snowflake(name: str, value: object) -> int:
    if isinstance(value, bool | str | bytes):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    try:
        number = int(operator.index(value))  # type: ignore[arg-type]  # asked, not assumed
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if not 0 < number <= _LARGEST_SNOWFLAKE:
        raise ValueError(f"{name} = {number} is no snowflake; it must be from 1 to 2**64 - 1")
    return number


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        hint = "; a null endpoint means: wait for the next voice server update" if name == "endpoint" else ""
        raise TypeError(f"{name} must be a str, not {type(value).__name__}{hint}")
    if not value.strip():
        raise ValueError(f"{name} is empty")
    if len(value) > _LONGEST_TEXT_CHARS or not value.isprintable():
        raise ValueError(f"{name} is longer than {_LONGEST_TEXT_CHARS} characters or not printable")
