"""RL objectives for Gaussian policies."""
