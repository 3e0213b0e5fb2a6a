"""Simulators: vector environments and the wrappers that make them trainable."""
