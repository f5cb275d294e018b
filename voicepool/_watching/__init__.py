"""A pool looked at from outside: counts that never fall, causes of stutter, Prometheus, ``top``."""
