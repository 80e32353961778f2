"""The name under which drivers count hooks."""

from grader.answering.hooks import hooks

__all__ = ["hooks"]
