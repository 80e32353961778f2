"""The name under which drivers find real ranks."""

from grader.answering.ranks import on_ranks

__all__ = ["on_ranks"]
