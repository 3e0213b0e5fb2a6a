"""Agents: loops that collect, learn and evaluate."""
