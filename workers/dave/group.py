"""The group as the native library `davey` does it; the only file that imports it.

Threads. All methods are for the control loop; what `encryptor` returns is for the pacing thread. The library
has no lock of its own and needs none of ours: it keeps the interpreter's lock from entry to return, so that a
frame is encrypted before or after an MLS step and never during one (nearly 200,000 frames beside 2 s of MLS
and decrypting on one session: no error). Should a release give the lock away, or run on an interpreter
without one, a call that meets another raises ``RuntimeError`` there: `FrameSealer` then withholds that one
frame, and nothing waits.

What that costs: while a step runs, no call of this worker sends. Measured with davey 0.1.7 on one core of a
cloud VM (Sapphire Rapids), median of ten, milliseconds:

=========================================  ====  ====  ====  =====
members of the group                          2    10    50    100
=========================================  ====  ====  ====  =====
one joins: proposals, with our commit       3.5   3.5   4.0    4.4
one joins: merging the commit               0.6   0.7   1.2    1.7
one leaves: proposals, with our commit      3.1   7.2    25     47
one leaves: merging the commit              1.7   2.1   3.1    4.1
being welcomed                              2.3   6.0    24     46
all at once, first group: proposals         6.0    18    96    202
starting a group, with its key package      2.3   2.3   2.3    2.3
a verification code, by the library         180   180   180    180
=========================================  ====  ====  ====  =====

For comparison: a frame takes 2.0 µs, and 2.1 with `FrameSealer` around it.

A step shorter than the pacer's catch-up cap (60 ms) makes packets late and loses none, which receivers'
buffers even out. Most of it is the library's commit, which it makes for all proposals, whether or not another
member's wins. It can be neither left out nor moved to another thread or process: the keys cannot be taken out
of a session. So nothing is computed here that nobody asked for, and `codes` does itself what it can.

Two habits of the library are levelled out here. It gives a welcome to a commit only if the *last* proposals
brought an Add, though the commit covers all of the epoch; and it takes no notice of a user who is in the
group twice, which members must refuse (DAVE protocol, Client Commit Validity).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Final

import davey

from voicepool.workers.dave.contract import CommitWelcome, Encrypt, GroupError
from voicepool.workers.dave.frames import is_library_error
from voicepool.workers.dave.mls import Proposal, ProposalKind, write_vector

__all__ = ["MAX_VERSION", "DaveyGroup"]

MAX_VERSION: Final = davey.DAVE_PROTOCOL_VERSION
"""Highest DAVE protocol version of the library; goes into IDENTIFY."""

_RETIRED_S: Final = 10.0
"""How long frames of the group before can be decrypted (DAVE protocol, Protocol Version Changes)."""
_REASON_MAX_CHARS: Final = 160
_APPEND: Final = davey.ProposalsOperationType.append
_REVOKE: Final = davey.ProposalsOperationType.revoke
_AUDIO: Final = davey.MediaType.audio


class DaveyGroup:
    """Fulfils `contract.DaveGroup`; see there for its methods.

    Every group it starts is a new session of the library, so that what the session before has handed out
    keeps its key for as long as somebody holds it. The identity's key pair is made once, so that members who
    have compared codes need not do so again after a reset (DAVE protocol, Consistency of Identity Keypairs).

    Parameters
    ----------
    user_id
        Ours.
    channel_id
        The call's channel: the MLS group id. Another channel needs another object.
    """

    switches_on_merge = True
    max_version = MAX_VERSION

    def __init__(self, user_id: int, channel_id: int) -> None:
        self.user_id = user_id
        self.channel_id = channel_id
        self._key_pair = davey.generate_p256_keypair()
        self._session: davey.DaveSession | None = None
        self._retired: davey.DaveSession | None = None
        self._retired_until = 0.0
        self._cached_adds: dict[bytes, Proposal] = {}

    def __repr__(self) -> str:
        return f"<DaveyGroup user={self.user_id} channel={self.channel_id} epoch={self.epoch}>"

    @property
    def signature_key(self) -> bytes:
        """Our identity's public key."""
        return self._key_pair.public

    @property
    def epoch(self) -> int | None:
        """Of the present group."""
        return None if self._session is None else self._session.epoch

    @property
    def user_ids(self) -> frozenset[int]:
        """Members of the present group."""
        return frozenset(self._members())

    @property
    def privacy_code(self) -> str | None:
        """30 digits that all members see alike."""
        return None if self._session is None else self._session.voice_privacy_code

    def start(self, version: int, external_sender: bytes, now: float) -> bytes:
        """Forget the group, be a pending member of a new one, return the key package."""
        with _mapped("start"):
            session = davey.DaveSession(version, self.user_id, self.channel_id, self._key_pair)
            if external_sender:
                session.set_external_sender(external_sender)
            key_package = session.get_serialized_key_package()
        if self._session is not None and self._session.ready:
            self._retired, self._retired_until = self._session, now + _RETIRED_S
        self._session = session
        self._cached_adds.clear()
        return key_package

    def set_external_sender(self, external_sender: bytes) -> None:
        """Take the payload of opcode 25."""
        with _mapped("take the external sender"):
            self._need().set_external_sender(external_sender)

    def process_proposals(
        self, appended: Sequence[Proposal], revoked: Sequence[bytes]
    ) -> CommitWelcome | None:
        """Cache or drop proposals; return a commit to all that are cached."""
        session = self._need()
        for reference in revoked:
            self._cached_adds.pop(reference, None)
        adds = {proposal.reference: proposal for proposal in appended if proposal.kind is ProposalKind.ADD}
        appended, revoked = list(appended), list(revoked)
        if not adds and self._cached_adds:
            # An earlier Add is to be in this commit: taken out and put in again, it gets its welcome.
            reference, again = next(iter(self._cached_adds.items()))
            revoked.append(reference)
            appended.append(again)
        self._cached_adds.update(adds)
        made = None
        with _mapped("process proposals"):
            if revoked:
                vector = write_vector(b"".join(map(write_vector, revoked)))
                made = session.process_proposals(_REVOKE, vector)
            if appended:
                vector = write_vector(b"".join(proposal.message for proposal in appended))
                made = session.process_proposals(_APPEND, vector)
        return None if made is None else CommitWelcome(made.commit, made.welcome or b"")

    def merge_commit(self, commit: bytes) -> None:
        """Go to the next epoch by a commit."""
        with _mapped("process the commit"):
            self._need().process_commit(commit)
        self._entered()

    def join(self, welcome: bytes) -> None:
        """Go into the group of a welcome."""
        with _mapped("process the welcome"):
            self._need().process_welcome(welcome)
        self._entered()

    def encryptor(self) -> Encrypt | None:
        """Return what encrypts under our sender key; for the pacing thread."""
        session = self._session
        return session.encrypt_opus if session is not None and session.ready else None

    def decrypt(self, user_id: int, frame: bytes, now: float) -> bytes:
        """Return the Opus frame inside a protocol frame."""
        if self._retired is not None and now >= self._retired_until:
            self._retired = None
        if self._retired is not None:
            with contextlib.suppress(GroupError), _mapped("decrypt"):
                return self._retired.decrypt(user_id, _AUDIO, frame)
        with _mapped("decrypt"):
            return self._need().decrypt(user_id, _AUDIO, frame)

    def verification_code(self, user_id: int) -> str:
        """Return a member's verification code.

        Keeps the interpreter's lock for about 180 ms: every call of this worker loses some nine frames. Only
        on the wish of a person, and only for a member whose key `DaveProtocol.verification_pair` lacks.
        """
        with _mapped("make a verification code"):
            return self._need().get_verification_code(user_id)

    def _need(self) -> davey.DaveSession:
        if self._session is None:
            raise GroupError("do anything", "it was not started")
        return self._session

    def _members(self) -> list[int]:
        return [] if self._session is None else [int(user_id) for user_id in self._session.get_user_ids()]

    def _entered(self) -> None:
        self._cached_adds.clear()
        members = self._members()
        if len(members) != len(set(members)):
            raise GroupError("go on", "a user is in it twice")


@contextlib.contextmanager
def _mapped(step: str) -> Iterator[None]:
    """Turn what the library raises, panics included, into `GroupError`."""
    try:
        yield
    except GroupError:
        raise
    except BaseException as error:
        if not is_library_error(error):
            raise
        raise GroupError(step, _reason(error)) from None


def _reason(error: BaseException) -> str:
    """Return the words of an error of the library, and nothing that could be key or payload."""
    words = re.findall(r"[A-Za-z]{2,40}", str(error).partition(":")[2] or str(error))
    return " ".join(words)[:_REASON_MAX_CHARS] or type(error).__name__
