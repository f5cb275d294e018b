"""All workers of a pool as one: how many there are, which of them takes a call, and how they are replaced."""
