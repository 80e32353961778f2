"""The name under which released notebooks find `check`."""

from grader.classroom.lab import INSTALLED, NotYet, exercise

__all__ = ["INSTALLED", "NotYet", "exercise"]
