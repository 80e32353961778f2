"""The name under which released notebooks find `check`."""

from grader.classroom.lab import INSTALLED, NotYet, exercise
from grader.classroom.practice import practice

__all__ = ["INSTALLED", "NotYet", "exercise", "practice"]
