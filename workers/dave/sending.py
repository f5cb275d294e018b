"""What becomes of our frames: the version in force, and the group whose key they leave under [pure].

The only one to tell the `FrameSealer` what to do, so that no frame passes between a decision and its effect.
"""

from __future__ import annotations

from voicepool.workers.dave.contract import Encrypt
from voicepool.workers.dave.events import EncryptionChanged
from voicepool.workers.dave.frames import FrameSealer

__all__ = ["Sending"]


class Sending:
    """Our frames of one voice session.

    Parameters
    ----------
    sealer
        Theirs; only this object tells it what to do with them.

    Attributes
    ----------
    version
        Of the protocol, in force; 0: the call is not end-to-end encrypted.
    group
        The group whose key is in use, by its number (`Membership.generation`); None without a key.
    """

    __slots__ = ("_sealer", "_told", "group", "version")

    def __init__(self, sealer: FrameSealer) -> None:
        self._sealer = sealer
        self.version = 0
        self.group: int | None = None
        self._told = (0, False)

    def pass_through(self) -> None:
        """Send in the clear: the version in force is 0."""
        self.group = None
        self._sealer.pass_through()

    def withhold(self) -> None:
        """Send no frame until there is a key."""
        self.group = None
        self._sealer.withhold()

    def encrypt_with(self, encrypt: Encrypt, group: int) -> None:
        """Send under the key of a group."""
        self.group = group
        self._sealer.encrypt_with(encrypt)

    def news(self) -> EncryptionChanged | None:
        """Return how things stand, if that is other than at the last call."""
        told = (self.version, self.version == 0 or self.group is not None)
        if told == self._told:
            return None
        self._told = told
        return EncryptionChanged(protocol_version=told[0], is_sending=told[1])
