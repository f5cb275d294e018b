"""Audio packets: RTP inside transport encryption inside UDP.

`rtp` builds and reads packets, `aead` seals and opens them, `discovery` finds our own address; all three know
neither socket nor clock. `udp` is the one socket of a call, for both directions.
"""

from __future__ import annotations

__all__: list[str] = []
