"""Training data: index maps over stitched episodes and a built-in demonstrator."""
