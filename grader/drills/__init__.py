"""Computed interview questions. What an author writes with: `from grader.drills import Number, question`.

Nothing here imports numpy or torch: a question is asked at once. `docs/drills.md` says how one is written.
"""

from grader.drills.kinds import Blank, Bug, Choice, Number, Order, Predict
from grader.drills.question import question

__all__ = ["Blank", "Bug", "Choice", "Number", "Order", "Predict", "question"]
