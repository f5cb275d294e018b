"""MLS structures made by hand, so that each field can be wrong; davey's are always right."""

from __future__ import annotations

from collections.abc import Sequence

from voicepool.testing.mls_codec import u8, u16, u32, u64, vector
from voicepool.testing.mls_crypto import Signer
from voicepool.testing.mls_framing import Commit, parse_commit
from voicepool.testing.mls_key_package import KeyPackage, parse_key_package

CHANNEL = 99
FOREVER = (0, 2**64 - 1)


def point() -> bytes:
    return Signer().public_key


def leaf_node(
    user_id: int,
    signer: Signer,
    *,
    encryption_key: bytes | None = None,
    signature_key: bytes | None = None,
    identity: bytes | None = None,
    credential_type: int = 1,
    ciphersuites: Sequence[int] = (2,),
    source: int = 1,
    lifetime: tuple[int, int] = FOREVER,
    extensions: bytes = b"",
    context: bytes = b"",
    spoil: bool = False,
) -> bytes:
    content = (
        vector(encryption_key or point())
        + vector(signature_key or signer.public_key)
        + u16(credential_type)
        + vector(u64(user_id) if identity is None else identity)
        + vector(u16(1))
        + vector(b"".join(u16(suite) for suite in ciphersuites))
        + vector(b"")
        + vector(b"")
        + vector(u16(1))
        + u8(source)
    )
    if source == 1:
        content += u64(lifetime[0]) + u64(lifetime[1])
    elif source == 3:
        content += vector(b"")
    content += vector(extensions)
    return content + vector(signer.sign("LeafNodeTBS" if not spoil else "Other", content + context))


def key_package_bytes(
    user_id: int,
    signer: Signer | None = None,
    *,
    version: int = 1,
    ciphersuite: int = 2,
    init_key: bytes | None = None,
    spoil: bool = False,
    leaf: bytes | None = None,
    **of_leaf: object,
) -> bytes:
    signer = signer or Signer()
    content = (
        u16(version)
        + u16(ciphersuite)
        + vector(init_key or point())
        + (leaf or leaf_node(user_id, signer, **of_leaf))  # type: ignore[arg-type]
        + vector(b"")
    )
    return content + vector(signer.sign("Other" if spoil else "KeyPackageTBS", content))


def key_package(user_id: int, signer: Signer | None = None) -> KeyPackage:
    return parse_key_package(key_package_bytes(user_id, signer))


def path(leaf: bytes) -> bytes:
    node = vector(point()) + vector(vector(point()) + vector(b"secret"))
    return u8(1) + leaf + vector(node)


def commit_bytes(
    refs: Sequence[bytes],
    *,
    group_id: bytes = u64(CHANNEL),
    epoch: int = 0,
    leaf_index: int = 0,
    version: int = 1,
    wire_format: int = 1,
    sender_type: int = 1,
    content_type: int = 3,
    by: int = 2,
    encoded_path: bytes = b"\0",
    signature: bytes = b"signature",
    tags: tuple[int, int] = (32, 32),
) -> bytes:
    return (
        u16(version)
        + u16(wire_format)
        + vector(group_id)
        + u64(epoch)
        + u8(sender_type)
        + u32(leaf_index)
        + vector(b"")
        + u8(content_type)
        + vector(b"".join(u8(by) + vector(ref) for ref in refs))
        + encoded_path
        + vector(signature)
        + vector(bytes(tags[0]))
        + vector(bytes(tags[1]))
    )


def commit(refs: Sequence[bytes], **options: object) -> Commit:
    return parse_commit(commit_bytes(refs, **options))[0]  # type: ignore[arg-type]


def welcome_bytes(refs: Sequence[bytes], *, ciphersuite: int = 2, kem_output: bytes | None = None) -> bytes:
    secrets = b"".join(
        vector(ref) + vector(kem_output or point()) + vector(b"secrets " + ref) for ref in refs
    )
    return u16(ciphersuite) + vector(secrets) + vector(b"group info")
