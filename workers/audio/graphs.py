"""Building graphs of libavfilter that are freed the moment they are let go.

From PyAV 19 on a graph holds its filters and they hold it, so it would lie there until Python collects
garbage, which a worker puts off (`garbage`): half a megabyte for a chain with an echo, and again at each seek
and each change of filters.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from av.filter import Graph

__all__ = ["building_graph"]


@contextmanager
def building_graph() -> Iterator[Graph]:
    """Give a graph to add filters to, configure and set up; after that it can only be run."""
    graph = Graph()
    if hasattr(graph, "threads"):
        # Audio filters gain nothing from threads; without this the graph starts one a core.
        graph.threads = 1
    try:
        yield graph
    finally:
        # Its lists of filters serve building alone. PyAV shows them to nobody but the garbage collector.
        for held in gc.get_referents(graph):
            if isinstance(held, dict):
                held.clear()
