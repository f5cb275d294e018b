from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

import benchmarks
from benchmarks.registry import BENCHMARKS


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_has_a_run_and_opens_with_its_question(name: str) -> None:
    benchmark = BENCHMARKS[name]
    assert inspect.iscoroutinefunction(benchmark.load())
    docstring = importlib.import_module(f"benchmarks.{name}").__doc__ or ""
    assert docstring.splitlines()[0] == benchmark.question


def test_none_is_left_out() -> None:
    folder = Path(benchmarks.__file__).parent
    runnable = {
        path.stem
        for path in folder.glob("*.py")
        if "\nasync def run(options" in path.read_text(encoding="utf-8")
    }
    assert runnable == set(BENCHMARKS)
