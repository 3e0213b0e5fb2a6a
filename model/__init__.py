"""Networks, diffusion policies and RL objectives."""
