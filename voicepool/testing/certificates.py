"""A certificate authority that lives as long as one test, and server certificates signed by it.

Voice clients insist on TLS and so does the stand-in. The authority is made at start, so that no key
lies in a repository and no certificate expires between releases.
"""

from __future__ import annotations

__all__ = ("CertificateAuthority",)

import datetime as dt
import ipaddress
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

# Both sides of the present, because clocks of test machines are wrong in both directions.
_VALID_BEFORE = dt.timedelta(days=1)
_VALID_AFTER = dt.timedelta(days=30)


class CertificateAuthority:
    """Signs certificates for a local server and publishes its own certificate as a PEM file.

    The chain passes ``ssl.VERIFY_X509_STRICT``, which Python 3.13 turns on by default (RFC 5280: key usage,
    subject and authority key identifiers). The file lies in a private temporary directory that
    `close`, or the end of the ``with`` block, removes.

    Parameters
    ----------
    common_name : str
        Subject of the authority, shown by TLS tools.

    Examples
    --------
    >>> with CertificateAuthority() as authority:
    ...     client = ssl.create_default_context(cafile=authority.ca_file)
    ...     server = authority.server_context()

    A certificate that does **not** verify comes from an authority the client was not told about, or from
    ``server_context(hosts=["elsewhere.invalid"])`` or ``server_context(expired=True)``.
    """

    def __init__(self, common_name: str = "voicepool test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _self_signed(self._key, common_name)
        self._directory = tempfile.TemporaryDirectory(prefix="voicepool-ca-")
        self._ca_file = Path(self._directory.name) / "ca.pem"
        self._ca_file.write_bytes(self.ca_pem)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def ca_file(self) -> Path:
        """PEM file with the authority's certificate: what clients trust (``ca_file``, ``SSL_CERT_FILE``)."""
        return self._ca_file

    @property
    def ca_pem(self) -> bytes:
        """The authority's certificate as PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def server_context(
        self, hosts: Sequence[str] = ("localhost", "127.0.0.1", "::1"), *, expired: bool = False
    ) -> ssl.SSLContext:
        """Return a TLS context for a server, with a new key and certificate.

        Parameters
        ----------
        hosts : Sequence[str]
            Names and addresses the certificate is good for.
        expired : bool
            Make a certificate whose time ran out yesterday.

        Returns
        -------
        ssl.SSLContext
            A server context. The key was on disk only while it was loaded.

        Raises
        ------
        ValueError
            The authority is closed, or `hosts` is empty.
        """
        if not hosts:
            msg = "a server certificate needs at least one host name or address"
            raise ValueError(msg)
        if not self._ca_file.exists():
            msg = "this CertificateAuthority is closed: make server contexts inside its `with` block"
            raise ValueError(msg)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(key, hosts, expired=expired)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # OpenSSL reads keys from files only; the directory is 0700 and the file gone at once.
        chain = Path(self._directory.name) / f"server-{certificate.serial_number}.pem"
        try:
            chain.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
                + certificate.public_bytes(serialization.Encoding.PEM)
            )
            context.load_cert_chain(chain)
        finally:
            chain.unlink(missing_ok=True)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return a TLS context for a client that trusts this authority and nothing else."""
        context = ssl.create_default_context(cadata=self.ca_pem.decode("ascii"))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    def close(self) -> None:
        """Remove the PEM file and its directory. Calling it twice is harmless."""
        self._directory.cleanup()

    def _sign(
        self, key: ec.EllipticCurvePrivateKey, hosts: Sequence[str], *, expired: bool
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        end = now - _VALID_BEFORE if expired else now + _VALID_AFTER
        begin = end - _VALID_AFTER - _VALID_BEFORE
        authority_key = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(hosts[0]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_key.value),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )


def _self_signed(key: ec.EllipticCurvePrivateKey, common_name: str) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    name = _name(common_name)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _VALID_BEFORE - _VALID_AFTER)
        .not_valid_after(now + _VALID_AFTER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(key, hashes.SHA256())
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
