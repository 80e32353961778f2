# family = "resources"
# mechanism = "a loop in C, which looks at no signal"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "timeout"
import itertools


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        sum(itertools.repeat(0))
