"""[pure] The members of one call as the delivery service remembers them, in the group or not."""

from __future__ import annotations

__all__ = ("RosterMember",)

from collections import deque
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final

from voicepool.testing.mls_codec import MlsDecodeError
from voicepool.testing.mls_key_package import KeyPackage, check_key_package, parse_key_package

_REMEMBERED_PACKAGES: Final = 32


@dataclass(slots=True, eq=False)
class RosterMember:
    """One connected user.

    Attributes
    ----------
    user_id : int
        The user.
    max_version : int
        Highest DAVE version its client supports; 0: none.
    described : bool
        Whether it has its Session Description; before that it is told nothing.
    introduced : bool
        Whether it has the external sender (opcode 25).
    package : KeyPackage | None
        The key package to add it with; None if it has to send one, or needs none.
    lost : bool
        The leaf that the group has for this user is not, or no longer, the client's. It is to be replaced.
    rekeyed : bool
        It is lost only because a new key package came: perhaps the client still has its old state.
    """

    user_id: int
    max_version: int
    described: bool = False
    introduced: bool = False
    package: KeyPackage | None = None
    lost: bool = False
    rekeyed: bool = False
    _used: deque[bytes] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_PACKAGES))

    @property
    def signature_key(self) -> bytes | None:
        """Signature key of the waiting key package."""
        return None if self.package is None else self.package.leaf.signature_key

    def take_key_package(self, payload: bytes, other_keys: Container[bytes | None]) -> str | None:
        """Take a payload of opcode 26, in place of one before; return what is wrong with it, if anything.

        Key packages are single-use (RFC 9420 §10): one of the last 32 that were used is refused. So is one
        whose signature key is among `other_keys`, those of the other members (§7.3).
        """
        try:
            package = parse_key_package(payload)
        except MlsDecodeError as error:
            return f"op 26 from user {self.user_id}: {error}"
        problem = check_key_package(package, self.user_id)
        if problem is None and package.ref in self._used:
            problem = "it was used before; make a new one each time"
        if problem is None and package.leaf.signature_key in other_keys:
            problem = "its signature key is another member's; give every bot a key pair of its own"
        if problem is not None:
            return f"a key package of user {self.user_id} cannot be used: {problem}"
        self.package = package
        return None

    def repeats(self, payload: bytes) -> bool:
        """Return whether a payload of opcode 26 is the key package by which the client is in the group.

        A client that resumes cannot know whether what it sent last has arrived, and may send it again.
        """
        if self.lost or not self._used:
            return False
        try:
            return parse_key_package(payload).ref == self._used[-1]
        except MlsDecodeError:
            return False

    def use_package(self) -> None:
        """Note that the waiting key package has made the user a member of the group."""
        assert self.package is not None
        self._used.append(self.package.ref)
        self.package = None
        self.lost = self.rekeyed = False

    def lose(self, *, in_group: bool) -> None:
        """Note that the client has reset itself, and is about to send a new key package."""
        self.package = None
        self.lost = in_group
        self.rekeyed = False
