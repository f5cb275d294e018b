"""A filter graph is freed with its last reference, without the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from av.filter import Graph

from tests.workers.audio.media_files import encode
from tests.workers.audio.test_media import opened
from voicepool.workers.audio.filters import FilterChain, FilterError
from voicepool.workers.audio.graphs import building_graph


def graphs() -> int:
    return sum(type(thing) is Graph for thing in gc.get_objects())


@contextmanager
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_graphs_are_seen_while_they_live() -> None:
    with no_collection():
        before = graphs()
        chain = FilterChain("bass=g=8")
        assert graphs() == before + 1
        del chain
        assert graphs() == before


def test_a_chain_that_has_played_leaves_nothing() -> None:
    with no_collection():
        before = graphs()
        for _ in range(5):
            chain = FilterChain("equalizer=f=60:g=4,aecho=0.8:0.9:100:0.3,atempo=1.5")
            for _ in range(10):
                chain.push(np.ones((960, 2), np.float32))
            chain.finish()
            while chain.take() is not None:
                pass
            del chain
        assert graphs() == before


def test_a_chain_that_is_refused_leaves_nothing() -> None:
    with no_collection():
        before = graphs()
        with pytest.raises(FilterError):
            FilterChain("bass=g=nonsense")
        assert graphs() == before


def test_resampling_leaves_nothing_after_seeks_and_the_end() -> None:
    data = encode("flac", "flac", seconds=1.0, rate_hz=44_100)
    with no_collection():
        before = graphs()
        reader = opened(data)
        for position_s in (0.5, 0.2, 0.7):
            reader.seek(position_s)
            assert reader.read() is not None
        # The one in use.
        assert graphs() == before + 1
        while reader.read() is not None:
            pass
        reader.close()
        assert graphs() == before


def test_a_graph_that_cannot_be_built_leaves_nothing() -> None:
    def build() -> None:
        with building_graph() as graph:
            graph.add("abuffersink")
            graph.add("no such filter")

    with no_collection():
        before = graphs()
        with pytest.raises(ValueError, match="no such filter"):
            build()
        assert graphs() == before
