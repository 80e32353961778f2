"""The name under which drivers find the meter."""

from grader.answering.cost import Cost, Meter

__all__ = ["Cost", "Meter"]
