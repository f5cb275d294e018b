"""A group that does as it is told, and takes whatever is not marked as bad."""

from __future__ import annotations

from collections.abc import Sequence

from tests.fakes import dave_mls
from voicepool.workers.dave.contract import CommitWelcome, Encrypt, GroupError
from voicepool.workers.dave.mls import Proposal

__all__ = ["BAD", "ScriptedGroup", "key_of"]

BAD = b"BAD"
"""What commits, welcomes and external senders carry that the group refuses."""


class _Session:
    def __init__(self) -> None:
        self.key = 0

    def encrypt(self, opus: bytes) -> bytes:
        return b"key %d:" % self.key + opus


def key_of(frame: bytes | None) -> bytes | None:
    """Return the name of the key a frame is under; None if there is no frame or no key."""
    name, colon, _ = (frame or b"").partition(b":")
    return name if colon else None


class ScriptedGroup:
    """Counts epochs. Members are who was added; keys are numbers that never repeat.

    `switches_on_merge` says whether an encryptor of before takes the key of the new epoch, as the real
    library's does.
    """

    max_version = 1
    signature_key = b"our identity"

    def __init__(self, user_id: int = 1, channel_id: int = 99, *, switches_on_merge: bool = True) -> None:
        self.user_id = user_id
        self.channel_id = channel_id
        self.switches_on_merge = switches_on_merge
        self.epoch: int | None = None
        self.user_ids: frozenset[int] = frozenset()
        self.refuses_to_start = False
        self.refuses_proposals = False
        self.packages: list[bytes] = []
        self.cached: dict[bytes, Proposal] = {}
        self.made: list[bytes] = []
        self.merged: list[bytes] = []
        self.joined: list[bytes] = []
        self.undecryptable: set[bytes] = set()
        self._session: _Session | None = None
        self._keys = 0

    @property
    def privacy_code(self) -> str | None:
        return f"{self._keys:030}" if self._session is not None else None

    def start(self, version: int, external_sender: bytes, now: float) -> bytes:
        if self.refuses_to_start:
            raise GroupError("start", "Script")
        self.epoch = 0 if external_sender else None
        self.user_ids = frozenset({self.user_id}) if external_sender else frozenset()
        self._session = None
        self.cached.clear()
        self.packages.append(dave_mls.key_package(self.user_id, len(self.packages)))
        return self.packages[-1]

    def set_external_sender(self, external_sender: bytes) -> None:
        if self.made or BAD in external_sender:
            raise GroupError("take the external sender", "AlreadyInGroup")
        self.epoch = 0
        self.user_ids = frozenset({self.user_id})

    def process_proposals(
        self, appended: Sequence[Proposal], revoked: Sequence[bytes]
    ) -> CommitWelcome | None:
        if self.refuses_proposals:
            raise GroupError("process proposals", "Script")
        for reference in revoked:
            if self.cached.pop(reference, None) is None:
                raise GroupError("process proposals", "ProposalNotFound")
        self.cached |= {proposal.reference: proposal for proposal in appended}
        if not self.cached:
            return None
        note = b"number %d" % len(self.made)
        self.made.append(dave_mls.commit(self.channel_id, self.epoch or 0, self.cached, note=note))
        adds = any(proposal.user_id for proposal in self.cached.values())
        return CommitWelcome(self.made[-1], dave_mls.welcome([b"them"]) if adds else b"")

    def merge_commit(self, commit: bytes) -> None:
        if BAD in commit or self.epoch is None:
            raise GroupError("process the commit", "Script")
        added = {proposal.user_id for proposal in self.cached.values() if proposal.user_id}
        self.merged.append(commit)
        self._enter(self.user_ids | added, self.epoch + 1)

    def join(self, welcome: bytes) -> None:
        if BAD in welcome or self.epoch is None:
            raise GroupError("process the welcome", "Script")
        self.joined.append(welcome)
        self._session = None
        self._enter(frozenset({self.user_id, 2}), 7)

    def encryptor(self) -> Encrypt | None:
        return None if self._session is None else self._session.encrypt

    def decrypt(self, user_id: int, frame: bytes, now: float) -> bytes:
        if frame in self.undecryptable or user_id not in self.user_ids:
            raise GroupError("decrypt", "Script")
        return b"opus"

    def verification_code(self, user_id: int) -> str:
        return "0" * 45

    def _enter(self, user_ids: frozenset[int], epoch: int) -> None:
        self.epoch = epoch
        self.user_ids = user_ids
        self.cached.clear()
        self.made.clear()
        self._keys += 1
        if self._session is None or not self.switches_on_merge:
            self._session = _Session()
        self._session.key = self._keys
