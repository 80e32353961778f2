# family = "resources"
# mechanism = "4 MB straight to descriptor 2, then the right answer"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "output limit"
import os


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


right = RunningMean.update


def update(self, x):
    for _ in range(64):
        os.write(2, b"x" * 65536)
    return right(self, x)


RunningMean.update = update
