from __future__ import annotations

import importlib.util
import sys

import pytest

from voicepool.testing import gateway_web


def test_a_missing_aiohttp_is_answered_with_the_name_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    spec = importlib.util.spec_from_file_location("gateway_web_again", gateway_web.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.raises(ImportError, match=r"pip install 'voicepool\[testing\]'"):
        spec.loader.exec_module(module)
