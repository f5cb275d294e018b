"""The knobs of the four modules by theme are those of `PoolConfig`: none is left over, none serves twice."""

from __future__ import annotations

import typing

from voicepool._settings import calls, sound, watching, workers
from voicepool._settings.knobs import Knob
from voicepool.config import DEFAULT_MODES, DEPRECATED_MODES, PoolConfig

MODULES = (workers, calls, sound, watching)


def test_every_field_has_the_knob_of_its_name() -> None:
    hints = typing.get_type_hints(PoolConfig, include_extras=True)
    declared: dict[str, Knob] = {}
    for module in MODULES:
        for name in module.__all__:
            if isinstance(found := getattr(module, name), Knob):
                assert name.lower() not in declared
                declared[name.lower()] = found
    assert set(declared) == set(PoolConfig().as_dict())
    for key, knob in declared.items():
        assert hints[key].__metadata__ == (knob,)


def test_the_modes_are_the_seven_known_ones() -> None:
    assert len({*DEFAULT_MODES, *DEPRECATED_MODES}) == 7
