"""Proves that an exercise is healthy."""
