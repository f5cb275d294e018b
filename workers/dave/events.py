"""What the end-to-end encryption tells its owner: one frozen Struct each, and their union [pure]."""

from __future__ import annotations

import msgspec

__all__ = [
    "DaveEvent",
    "DaveFailed",
    "DaveRecovered",
    "DaveRecovering",
    "EncryptionChanged",
    "GroupChanged",
]


class EncryptionChanged(msgspec.Struct, frozen=True):
    """What frames we send from now on.

    Attributes
    ----------
    protocol_version
        The DAVE version in force; 0: frames leave without end-to-end encryption, by the server's order.
    is_sending
        False while frames are withheld because there is no key for them.
    """

    protocol_version: int
    is_sending: bool


class GroupChanged(msgspec.Struct, frozen=True):
    """The group is in another epoch, or there is none any more: codes have to be compared again.

    Attributes
    ----------
    epoch
        None without a group.
    privacy_code
        30 digits, the same for all members; None without a group.
    user_ids
        The members, us included.
    joined, left
        Who is new, and who is gone. One who left and came back in one step is in `joined`, because their
        verification code may be another.
    """

    epoch: int | None
    privacy_code: str | None
    user_ids: frozenset[int]
    joined: frozenset[int]
    left: frozenset[int]


class DaveRecovering(msgspec.Struct, frozen=True):
    """We have left the group because of something we could not process, and asked to be added again.

    Attributes
    ----------
    transition_id
        As reported to the server.
    reason
        What could not be processed, in words.
    attempt
        1 for the first since the group was last sound.
    """

    transition_id: int
    reason: str
    attempt: int


class DaveRecovered(msgspec.Struct, frozen=True):
    """We are in the group again.

    Attributes
    ----------
    gap_s
        Seconds from the first `DaveRecovering` on.
    """

    gap_s: float


class DaveFailed(msgspec.Struct, frozen=True):
    """Recovery does not help: the call wants a new session (identify anew).

    Attributes
    ----------
    reason
        What could not be processed at last, in words.
    """

    reason: str


DaveEvent = EncryptionChanged | GroupChanged | DaveRecovering | DaveRecovered | DaveFailed
