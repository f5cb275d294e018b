"""Stand-ins for Discord, to try and test a voice bot without it: offline, strict, and with faults on request.

`FakeDiscord` is the REST API and the main gateway, `DiscordVoiceServer` a voice server with its websocket and
UDP. Unmodified bot libraries connect to them. `StandInProcess` runs both in a process of their own, and
``python -m voicepool.testing`` does so for a bot in any language. Nothing here shares code with voicepool's
own workers, so that a misreading of the protocol on one side shows on the other.

What can be made to go wrong is in three places: methods of `FakeDiscord` for the main gateway, of
`DiscordVoiceServer` for a voice server, and of `VoiceSession` for one client's connection to it. Each is
a request of `StandInProcess` as well.

`FakeDiscord` needs aiohttp: install ``voicepool[testing]``. Names are loaded on their first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from voicepool.testing.certificates import CertificateAuthority as CertificateAuthority
    from voicepool.testing.fake_discord import FakeDiscord as FakeDiscord
    from voicepool.testing.guild_model import BotUser as BotUser
    from voicepool.testing.guild_model import Channel as Channel
    from voicepool.testing.guild_model import ChannelType as ChannelType
    from voicepool.testing.guild_model import Guild as Guild
    from voicepool.testing.guild_model import Member as Member
    from voicepool.testing.guild_model import User as User
    from voicepool.testing.guild_model import make_guild as make_guild
    from voicepool.testing.guild_world import VoiceState as VoiceState
    from voicepool.testing.process import StandInProcess as StandInProcess
    from voicepool.testing.stand_in_values import StandInBot as StandInBot
    from voicepool.testing.stand_in_values import StandInError as StandInError
    from voicepool.testing.stand_in_values import StandInGuild as StandInGuild
    from voicepool.testing.stand_in_values import WavFile as WavFile
    from voicepool.testing.voice_grant import VoiceGrant as VoiceGrant
    from voicepool.testing.voice_report import LatenessFigures as LatenessFigures
    from voicepool.testing.voice_report import SessionReport as SessionReport
    from voicepool.testing.voice_server import DiscordVoiceServer as DiscordVoiceServer
    from voicepool.testing.voice_session import VoiceSession as VoiceSession
    from voicepool.testing.voice_speaker import VoiceSpeaker as VoiceSpeaker

_MODULES: Final = {
    "certificates": ("CertificateAuthority",),
    "fake_discord": ("FakeDiscord",),
    "guild_model": ("BotUser", "Channel", "ChannelType", "Guild", "Member", "User", "make_guild"),
    "guild_world": ("VoiceState",),
    "process": ("StandInProcess",),
    "stand_in_values": ("StandInBot", "StandInError", "StandInGuild", "WavFile"),
    "voice_grant": ("VoiceGrant",),
    "voice_report": ("LatenessFigures", "SessionReport"),
    "voice_server": ("DiscordVoiceServer",),
    "voice_session": ("VoiceSession",),
    "voice_speaker": ("VoiceSpeaker",),
}
_HOME_OF: Final = {
    name: f"voicepool.testing.{module}" for module, names in _MODULES.items() for name in names
}

__all__ = [
    "BotUser",
    "CertificateAuthority",
    "Channel",
    "ChannelType",
    "DiscordVoiceServer",
    "FakeDiscord",
    "Guild",
    "LatenessFigures",
    "Member",
    "SessionReport",
    "StandInBot",
    "StandInError",
    "StandInGuild",
    "StandInProcess",
    "User",
    "VoiceGrant",
    "VoiceSession",
    "VoiceSpeaker",
    "VoiceState",
    "WavFile",
    "make_guild",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'voicepool.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
