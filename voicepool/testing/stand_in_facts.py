"""What stand-ins in a process of their own say of themselves when they have started."""

from __future__ import annotations

__all__ = ["StandInFacts"]

from pathlib import Path
from typing import Any

from voicepool.testing.stand_in_values import StandInBot, StandInGuild, read_bot, read_guild


class StandInFacts:
    """Base of `StandInProcess`; never used by itself."""

    _facts: dict[str, Any] | None

    @property
    def rest_url(self) -> str:
        """Base of the REST API, for ``hikari.GatewayBot(rest_url=…)``."""
        return str(self._fact("rest_url"))

    @property
    def gateway_url(self) -> str:
        """The main gateway, for clients that do not ask REST for it."""
        return str(self._fact("gateway_url"))

    @property
    def voice_endpoints(self) -> tuple[str, ...]:
        """``host:port`` of each voice server."""
        return tuple(self._fact("voice_endpoints"))

    @property
    def ca_file(self) -> Path:
        """PEM file that voice clients have to trust: ``PoolConfig(ca_file=…)`` or ``SSL_CERT_FILE``."""
        return Path(self._fact("ca_file"))

    @property
    def bots(self) -> tuple[StandInBot, ...]:
        """The accounts that may log in."""
        return tuple(map(read_bot, self._fact("bots")))

    @property
    def token(self) -> str:
        """The token of the first bot."""
        return self.bots[0].token

    @property
    def guilds(self) -> tuple[StandInGuild, ...]:
        """The guilds, in order."""
        return tuple(map(read_guild, self._fact("guilds")))

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return int(self._fact("pid"))

    def _fact(self, name: str) -> Any:
        if self._facts is None:
            raise RuntimeError("the StandInProcess is not started: use it inside `async with`")
        return self._facts[name]
