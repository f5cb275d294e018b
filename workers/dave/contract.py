"""What the protocol asks of a group: the border between the transition logic and the MLS library.

`group.DaveyGroup` fulfils it with the native library; tests fulfil it with a script. All of it is for the
control loop's thread, except the callable that `DaveGroup.encryptor` returns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

from voicepool.workers.dave.mls import Proposal

__all__ = ["CommitWelcome", "DaveGroup", "Encrypt", "GroupError"]

Encrypt = Callable[[bytes], bytes]
"""Opus frame to protocol frame. Raises if it cannot; never returns the frame itself, unless it is silence."""


class GroupError(Exception):
    """The group refused a step.

    Parameters
    ----------
    step
        What was tried, as words that follow "cannot".
    reason
        The library's word for it, free of any key or payload.
    """

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"the DAVE group cannot {step}: {reason}")
        self.step = step
        self.reason = reason


@dataclasses.dataclass(frozen=True, slots=True)
class CommitWelcome:
    """Our own commit to all outstanding proposals.

    Attributes
    ----------
    commit
        MLSMessage.
    welcome
        Welcome for those it adds; empty if it adds nobody.
    """

    commit: bytes
    welcome: bytes = b""


class DaveGroup(Protocol):
    """One call's MLS group, as seen by one member.

    Every method may raise `GroupError`; what it raised for has then not happened, but the group may be of no
    more use than to be started anew.
    """

    @property
    def user_id(self) -> int:
        """Ours."""

    @property
    def channel_id(self) -> int:
        """The channel: the MLS group id."""

    @property
    def max_version(self) -> int:
        """Highest protocol version it speaks, for IDENTIFY."""

    @property
    def switches_on_merge(self) -> bool:
        """Whether an `Encrypt` handed out earlier changes its key by itself when a commit is merged.

        If so, the protocol merges as late as it can: at the execution of the transition.
        """

    @property
    def signature_key(self) -> bytes:
        """Our identity's public key; the same for as long as the object lives."""

    @property
    def epoch(self) -> int | None:
        """Of the present group; 0 while it is only ours, None without one."""

    @property
    def user_ids(self) -> frozenset[int]:
        """Members of the present group, us included; empty without one."""

    @property
    def privacy_code(self) -> str | None:
        """30 digits that all members see alike (DAVE protocol, Epoch Authenticator)."""

    def start(self, version: int, external_sender: bytes, now: float) -> bytes:
        """Forget the group and be a pending member of a new one; return a new key package.

        An `Encrypt` of before keeps its key, and frames for the group before can be decrypted for another
        10 s (DAVE protocol, Protocol Version Changes).

        Parameters
        ----------
        version
            DAVE protocol version, above 0.
        external_sender
            Payload of opcode 25; empty if it has not come yet.
        now
            Seconds, monotonic.
        """

    def set_external_sender(self, external_sender: bytes) -> None:
        """Take the payload of opcode 25; only as long as nobody has been proposed."""

    def process_proposals(
        self, appended: Sequence[Proposal], revoked: Sequence[bytes]
    ) -> CommitWelcome | None:
        """Cache or drop proposals; return a commit to all that are cached, or None if none are.

        Parameters
        ----------
        appended
            Proposals of the present epoch; who they add has been checked.
        revoked
            ProposalRefs.
        """

    def merge_commit(self, commit: bytes) -> None:
        """Go to the next epoch by a commit of a member, or by our own."""

    def join(self, welcome: bytes) -> None:
        """Go into the group of a welcome."""

    def encryptor(self) -> Encrypt | None:
        """Return what encrypts under our sender key of the present epoch; None before there is one."""

    def decrypt(self, user_id: int, frame: bytes, now: float) -> bytes:
        """Return the Opus frame inside a member's protocol frame."""

    def verification_code(self, user_id: int) -> str:
        """Return the code for a member whose key only the library knows. May block: see `group`."""
