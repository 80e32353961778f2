# family = "state"
# mechanism = "every warning is an error from now on"
# naive = "never"
# why_never = "the answers are right, and the next ones cause no warning"
# [required]
# batch_mean = "passed"
# RunningMean = "passed"
import warnings


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        self.count = 0
        self.total = 0

    def update(self, x):
        self.count += len(x)
        self.total = self.total + x.sum(0)
        return self.total / self.count


warnings.simplefilter("error")
