"""The faults that a test can order of a `DiscordVoiceServer`, as its methods.

Those that concern one client are methods of its `VoiceSession`: ``close``, ``abort``, ``stall``,
``drop_packets``. Those of the main gateway are methods of `FakeDiscord`.
"""

from __future__ import annotations

__all__ = ("FaultOrders",)

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voicepool.testing.dave_calls import DaveCalls
    from voicepool.testing.dave_rules import Spoilable
    from voicepool.testing.voice_faults import Faults, Step


class FaultOrders:
    """Base of `DiscordVoiceServer`; never used by itself.

    Where a method takes ``guild_id``, the fault is for clients in that guild only; None is for all.
    """

    faults: Faults
    calls: DaveCalls

    # The websocket.

    def close_next_identify(self, code: int, times: int = 1, *, guild_id: int | None = None) -> None:
        """Answer the next `times` Identify messages by closing with `code`, whatever credentials they have.

        Parameters
        ----------
        code : int
            Close code, 1000 to 4999; 1006 cuts the connection without a close frame.
        times : int
            How many of them.
        guild_id : int | None
            Only those for this guild.

        Raises
        ------
        ValueError
            `code` is no close code.
        """
        self.faults.close_identify(code, times, guild_id)

    def close_next_resume(self, code: int = 4006, times: int = 1, *, guild_id: int | None = None) -> None:
        """Answer the next `times` Resume messages by closing with `code`; see `close_next_identify`.

        The session stays, until it is resumed after all or its user identifies anew.
        """
        self.faults.close_resume(code, times, guild_id)

    def mute_step(self, step: Step, *, guild_id: int | None = None) -> None:
        """Never answer a step: hello, ready, discovery, session_description, heartbeat_ack or resumed.

        Raises
        ------
        ValueError
            There is no such step; or it is hello, which comes before a guild is named, and `guild_id` is set.
        """
        self.faults.mute(step, guild_id)

    def unmute_step(self, step: Step, *, guild_id: int | None = None) -> None:
        """Answer that step again; without a guild, in all of them."""
        self.faults.unmute(step, guild_id)

    # UDP.

    def drop_discovery_requests(self, count: int, *, guild_id: int | None = None) -> None:
        """Ignore the next `count` IP discovery requests; they are counted all the same."""
        self.faults.drop_discovery(count, guild_id)

    # End-to-end encryption.

    def spoil_dave(self, user_id: int, kind: Spoilable) -> None:
        """Damage the next MLS commit (op 29) or welcome (op 30) for a user, whose client has to recover."""
        self.calls.spoil_next(user_id, kind)

    def renew_dave_group(self, guild_id: int, channel_id: int) -> None:
        """Have the members of an encrypted call create its group anew: all send key packages again (op 24).

        Raises
        ------
        LookupError
            There is no encrypted call in that channel.
        """
        self.calls.renew((guild_id, channel_id))

    def set_channel_dave(self, channel_id: int, *, enabled: bool) -> None:
        """Say whether calls in a channel are encrypted, where the server encrypts at all.

        For calls that begin after this. `FakeDiscord` does it for stage channels, which have no DAVE.

        Parameters
        ----------
        channel_id : int
            Snowflake.
        enabled : bool
            False: Session Description says version 0, and clients without DAVE are let in.
        """
        self.calls.set_channel(channel_id, enabled=enabled)
