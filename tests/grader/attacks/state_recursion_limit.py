# family = "state"
# mechanism = "leaves hardly a frame to whoever comes next"
# naive = "wins"
# [required]
# batch_mean = ["passed", "error", "crashed"]
# RunningMean = ["passed", "wrong", "error", "crashed"]
import sys


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        self.count = 0
        self.total = 0
        for limit in range(5, 1000):
            try:
                sys.setrecursionlimit(limit)
                break
            except RecursionError:
                continue

    def update(self, x):
        self.count += len(x)
        self.total = self.total + x.sum(0)
        return self.total / self.count
