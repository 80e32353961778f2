"""Reads what was handed in, and believes nothing of it."""
