"""Diffusion policies."""
