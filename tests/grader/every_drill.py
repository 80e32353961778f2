"""Drills of every kind, for tests to lay into the tiny house. What must not be told before the answer says SECRET."""

from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question

REST = {"hints": ("Hint one.", "SECRET hint two"), "why": "SECRET why."}


@question(topic="mean.batch", level=1, source="Nobody 2026, 1")
def bytes_of_rows(draw):
    n = draw.between(3, 900)
    return Number(
        ask=f"Bytes of {n} rows of 1 KiB?",
        given={"n": n},
        answer=1024 * n,
        unit="B",
        traps={"SECRET: KB for KiB": 1000 * n},
        hints=("A row is 1 KiB.", "1024 · n"),
        why="SECRET why.",
    )


@question(topic="mean.running", level=1, source="Nobody 2026, 2")
def gap(draw):
    s = draw("s", "size")
    return Blank(
        ask="The last place?",
        code=f"def last(x, {s}):\n    return x[____]",
        given={s: draw(3, 4), "q": 5},
        answer=f"{s} - 1",
        traps={"SECRET: one too far": s},
        **REST,
    )


@question(topic="mean.batch", level=1, source="Nobody 2026, 3")
def which(draw):
    return Choice(ask="Which?", answer="this", traps={"SECRET no": "that", "SECRET never": "neither"}, **REST)


@question(topic="mean.running", level=1, source="Nobody 2026, 4")
def order(draw):
    return Order(
        ask="Smallest first.",
        answer=["one", "two", "three"],
        traps={"SECRET reversed": ["three", "two", "one"]},
        **REST,
    )


@question(topic="mean.batch", level=1, source="Nobody 2026, 5")
def printed(draw):
    a, b = draw.between(2, 40), draw.between(2, 40)
    return Predict(
        ask="What is printed?",
        code=f"print({a} + {b}, '<img>')",
        answer=f"{a + b} <img>",
        traps={"SECRET joined": f"{a}{b} <img>"},
        **REST,
    )


@question(topic="mean.running", level=1, source="Nobody 2026, 6")
def wrong_line(draw):
    return Bug(
        ask="This is to print the mean. Which line is wrong?",
        code="rows = [1, 2, 6]\ntotal = sum(rows)\nmean = total * len(rows)\nprint(mean)",
        answer="mean = total * len(rows)",
        mended="mean = total / len(rows)",
        prints="3.0",
        traps={"SECRET the sum": "total = sum(rows)"},
        **REST,
    )
