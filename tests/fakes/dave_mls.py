"""MLS structures with everything that can be read in them, and nothing that could be verified."""

from __future__ import annotations

from collections.abc import Iterable

from voicepool.workers.dave.mls import write_vector

__all__ = ["EXTERNAL_SENDER", "add", "append", "commit", "key_package", "remove", "revoke", "welcome"]

EXTERNAL_SENDER = write_vector(b"server key") + b"\x00\x01" + write_vector(b"server")


def _leaf(user_id: int, key: bytes, source: bytes) -> bytes:
    capabilities = write_vector(b"") * 5
    return (
        write_vector(b"hpke key")
        + write_vector(key)
        + b"\x00\x01"
        + write_vector(user_id.to_bytes(8))
        + capabilities
        + source
        + write_vector(b"")
        + write_vector(b"leaf signature")
    )


def key_package(user_id: int, number: int = 0) -> bytes:
    leaf = _leaf(user_id, b"identity of %d" % user_id, b"\x01" + bytes(16))
    init_key = write_vector(b"init key %d" % number)
    return b"\x00\x01\x00\x02" + init_key + leaf + write_vector(b"") + write_vector(b"signature")


def _message(group: int, epoch: int, sender: bytes, content: bytes) -> bytes:
    framing = write_vector(group.to_bytes(8)) + epoch.to_bytes(8) + sender + write_vector(b"")
    return b"\x00\x01\x00\x01" + framing + content


def _proposal(group: int, epoch: int, body: bytes, *, by_member: bool) -> bytes:
    sender = b"\x01" if by_member else b"\x02"
    message = _message(group, epoch, sender + bytes(4), b"\x02" + body) + write_vector(b"signature")
    return message + (write_vector(b"tag") if by_member else b"")


def add(group: int, epoch: int, user_id: int, number: int = 0, *, by_member: bool = False) -> bytes:
    return _proposal(group, epoch, b"\x00\x01" + key_package(user_id, number), by_member=by_member)


def remove(group: int, epoch: int, leaf: int) -> bytes:
    return _proposal(group, epoch, b"\x00\x03" + leaf.to_bytes(4), by_member=False)


def append(messages: Iterable[bytes]) -> bytes:
    return b"\x00" + write_vector(b"".join(messages))


def revoke(references: Iterable[bytes]) -> bytes:
    return b"\x01" + write_vector(b"".join(map(write_vector, references)))


def commit(
    group: int,
    epoch: int,
    references: Iterable[bytes] = (),
    *,
    committer: int | None = None,
    note: bytes = b"",
    inline: bool = False,
) -> bytes:
    proposals = b"".join(b"\x02" + write_vector(reference) for reference in references)
    if inline:
        proposals += b"\x01\x00\x03" + bytes(4)
    path = b"\x00"
    if committer is not None:
        path = b"\x01" + _leaf(committer, b"new key of %d" % committer, b"\x03" + write_vector(b"parent"))
        path += write_vector(b"nodes")
    content = b"\x03" + write_vector(proposals) + path
    return _message(group, epoch, b"\x01" + bytes(4), content) + write_vector(b"signature " + note)


def welcome(references: Iterable[bytes], note: bytes = b"") -> bytes:
    secrets = b"".join(
        write_vector(reference) + write_vector(b"kem") + write_vector(b"secret") for reference in references
    )
    return b"\x00\x02" + write_vector(secrets) + write_vector(b"group info " + note)
