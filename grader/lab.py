"""The name under which released notebooks find `check`."""

from grader.bank.places import STUDENT as INSTALLED
from grader.classroom.lab import NotYet, exercise, read_as
from grader.classroom.practice import practice

__all__ = ["INSTALLED", "NotYet", "exercise", "practice", "read_as"]
