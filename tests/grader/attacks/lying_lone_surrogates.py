# family = "lying"
# mechanism = "half characters, which no file can hold, in an answer and in an exception"
# naive = "never"
# why_never = "the naive judge writes only numbers"
# [required]
# batch_mean = ["wrong", "error"]
# RunningMean = ["waiting", "error"]


def batch_mean(x):
    return "\ud800" * 99


class RunningMean:
    def __init__(self, d):
        pass

    def update(self, x):
        error = type("\u0131\U0001f600", (ValueError,), {})
        raise error("\udcff" * 99)
