"""Audio packets: RTP inside transport encryption inside UDP.

`rtp` builds and reads packets, `modes` says how they may be encrypted, `aead` seals and opens them,
`discovery` finds our own address; none of these knows a socket or a clock. `udp` is the one socket of a call,
for both directions.
"""

from __future__ import annotations

__all__: list[str] = []
