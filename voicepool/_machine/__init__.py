"""What the machine offers a pool: cores and what shares them, memory, file descriptors. Knows no worker."""
