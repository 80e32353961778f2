"""Checks, verdicts and progress for the deep-learning katas. Read `catalog` first, then `attempt`, then `plugin`."""

__version__ = "0.1.0"
