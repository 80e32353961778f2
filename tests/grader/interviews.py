"""What tests of interviews share: a few drills, a clock that is set by hand, and who knows every answer."""

from grader.drills.load import question_of
from grader.drills.question import variant

_ONE = """
@question(topic="{topic}", level={level}, source="Nobody 2026, section {level}"{readme})
def {name}_{level}(draw):
    a, b = draw.between(5, 40), draw.between(50, 90)
    return Number(
        ask=f"What do {{a}} and {{b}} add up to?", given=dict(a=a, b=b), answer=a + b,
        traps={{"<the> difference": b - a}}, hints=("Add.", "a + b"), why="A sum adds & does not subtract.")
"""
_TOPICS = {"mean.batch": "sum", "mean.running": "total", "order.median": "middle", "order.quantile": "part",
           "count.rows": "rows", "spread.variance": "spread"}  # fmt: skip


def drills_on(*topics):
    """A file of drills: one of each level on each of these topics."""
    return "from grader.drills import Number, question\n" + "".join(
        _ONE.format(
            topic=topic, level=level, name=_TOPICS[topic],
            readme=', readme="dl_901/2"' if topic == "mean.batch" else "",
        )
        for topic in topics
        for level in (1, 2, 3)
    )  # fmt: skip


DRILLS = drills_on(*_TOPICS)


class Clock:
    """Seconds, set by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def right_of(house, shown):
    """The right answer to a question as it is shown."""
    return str(variant(question_of(house, shown.id), shown.seed).asked.answer)
