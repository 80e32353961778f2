"""What an author writes checks with. See docs/checks.md."""

from grader.checks.vocabulary import Wrong, agree, agree_one_of, at_most, in_torch, part, refusal

__all__ = ["Wrong", "agree", "agree_one_of", "at_most", "in_torch", "part", "refusal"]
