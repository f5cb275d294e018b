"""What each setting about calls may be: joining, staying, encryption."""

from __future__ import annotations

from typing import Final

from voicepool._settings.knobs import CertificateFile, Choices, Flag, Number, TakesEffect, WholeNumber

__all__ = [
    "CA_FILE",
    "CONNECT_TIMEOUT_S",
    "DAVE",
    "DEFAULT_MODES",
    "DEPRECATED_MODES",
    "MODES",
    "RECONNECT_ATTEMPTS",
    "RECONNECT_FIRST_PAUSE_S",
    "RECONNECT_LONGEST_PAUSE_S",
    "REMOVAL_GRACE_S",
    "SERVER_WAIT_S",
]

DEFAULT_MODES: Final = ("aead_aes256_gcm_rtpsize", "aead_xchacha20_poly1305_rtpsize")
"""What Discord speaks today (Voice Connections, Transport Encryption Modes), the cheaper one first."""
DEPRECATED_MODES: Final = (
    "xsalsa20_poly1305_lite_rtpsize",
    "aead_aes256_gcm",
    "xsalsa20_poly1305_lite",
    "xsalsa20_poly1305_suffix",
    "xsalsa20_poly1305",
)
"""What Discord has switched off and self-hosted servers may still want."""


def _seconds(effect: str) -> Number:
    return Number(minimum=0.01, maximum=600.0, unit="s", effect=effect, takes_effect=TakesEffect.NEXT_WORKER)


CONNECT_TIMEOUT_S: Final = _seconds(
    "How long joining may take, from the first packet until sound can be sent."
)
RECONNECT_FIRST_PAUSE_S: Final = _seconds(
    "The pause before a lost voice session is begun anew; it doubles with each failure."
)
RECONNECT_LONGEST_PAUSE_S: Final = _seconds("The longest that this pause becomes; at least the first.")
RECONNECT_ATTEMPTS: Final = WholeNumber(
    minimum=1,
    maximum=1_000,
    unit="attempts",
    effect="Failures in a row after which a lost call is given up, which ends its connection.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
SERVER_WAIT_S: Final = _seconds("How long Discord may take to name another voice server after one is gone.")
REMOVAL_GRACE_S: Final = _seconds(
    "How long Discord may take to say why a call was put out: moved, removed, or over."
)
DAVE: Final = Flag(
    effect="End-to-end encryption (DAVE) is offered; Discord refuses ordinary calls without it.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
MODES: Final = Choices(
    options=DEFAULT_MODES + DEPRECATED_MODES,
    effect="Transport encryption that may be used, the preferred one first.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
CA_FILE: Final = CertificateFile(
    effect="Certificate authorities to trust for voice servers, besides the system's.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
