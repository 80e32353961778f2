# family = "lying"
# mechanism = "a generator without end where values are asked for"
# naive = "never"
# why_never = "a generator is compared with a tensor, which does not iterate over it"
# [required]
# batch_mean = "wrong"
# RunningMean = ["waiting", "wrong"]
import itertools


def batch_mean(x):
    if len(x) == 0:
        raise ValueError
    return itertools.repeat(0.0)


class RunningMean:
    def __init__(self, d):
        pass

    def update(self, x):
        return batch_mean(x)
