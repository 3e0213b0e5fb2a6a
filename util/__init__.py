"""Helpers that know nothing of models, environments or agents."""
