"""Recorded numbers of the reference, replayed with this project."""
