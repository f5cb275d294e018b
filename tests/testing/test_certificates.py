from __future__ import annotations

import datetime as dt
import ssl
import stat
import sys

import pytest
from cryptography import x509

from voicepool.testing.certificates import CertificateAuthority


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """Do a TLS handshake over memory buffers."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    client_side = client.wrap_bio(to_client, to_server, server_hostname=name)
    pending = [client_side, server_side]
    while pending:
        side = pending.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pending.append(side)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_chain_verifies_under_strict_flags(name: str) -> None:
    with CertificateAuthority() as authority:
        client = ssl.create_default_context(cafile=authority.ca_file)
        client.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        handshake(authority.server_context(), client, name)
        handshake(authority.server_context(), authority.client_context(), name)


def test_certificates_that_must_not_verify() -> None:
    with CertificateAuthority() as trusted, CertificateAuthority() as stranger:
        client = trusted.client_context()
        with pytest.raises(
            ssl.SSLCertVerificationError, match=r"unable to get local issuer|self-signed|signature"
        ):
            handshake(stranger.server_context(), client, "localhost")
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            handshake(trusted.server_context(expired=True), client, "localhost")
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            handshake(trusted.server_context(["elsewhere.invalid"]), client, "localhost")


def test_extensions_that_strict_verification_wants() -> None:
    with CertificateAuthority() as authority:
        certificate = x509.load_pem_x509_certificate(authority.ca_file.read_bytes())
        assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).critical
        assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        assert certificate.not_valid_before_utc < dt.datetime.now(dt.UTC) < certificate.not_valid_after_utc


def test_directory_is_private_holds_no_key_and_goes_away() -> None:
    with CertificateAuthority() as authority:
        directory = authority.ca_file.parent
        authority.server_context()
        assert [path.name for path in directory.iterdir()] == ["ca.pem"]
        assert b"PRIVATE" not in authority.ca_file.read_bytes()
        if sys.platform != "win32":
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert not directory.exists()
    authority.close()
    with pytest.raises(ValueError, match="closed"):
        authority.server_context()


def test_no_hosts_is_an_error() -> None:
    with CertificateAuthority() as authority, pytest.raises(ValueError, match="at least one host"):
        authority.server_context([])
