"""Checks, verdicts and progress for the deep-learning katas.

Read `bank/catalog` first, then `checks/attempt`, then `judging/collect`.
"""

__version__ = "0.1.0"
