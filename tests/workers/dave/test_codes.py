from __future__ import annotations

import davey
import pytest

from voicepool.workers.dave.codes import VerificationPair, displayable_code


def test_both_see_the_same_verification_code_as_the_library_gives() -> None:
    one, two = davey.generate_p256_keypair().public, davey.generate_p256_keypair().public
    ours = VerificationPair(1, one, 2, two)
    theirs = VerificationPair(2, two, 1, one)
    fingerprint = davey.generate_pairwise_fingerprint(0, one, 1, two, 2)

    assert ours.code() == theirs.code() == davey.generate_displayable_code(fingerprint, 45, 5)
    assert len(ours.code()) == 45


def test_displayable_codes_as_the_library_gives_them() -> None:
    data = bytes(range(200, 232))
    assert displayable_code(data, 30) == davey.generate_displayable_code(data, 30, 5)
    assert displayable_code(bytes(5), 5) == "00000"


@pytest.mark.parametrize(("size", "digits"), [(4, 5), (29, 30), (32, 31)])
def test_too_few_bytes_or_uneven_digits_give_no_code(size: int, digits: int) -> None:
    with pytest.raises(ValueError, match="give no code"):
        displayable_code(bytes(size), digits)
