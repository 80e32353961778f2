# family = "state"
# mechanism = "no sys.path, no environment, another folder, and torch to be imported anew"
# naive = "wins"
# [required]
# batch_mean = ["passed", "error"]
# RunningMean = ["passed", "error", "waiting"]
import os
import sys


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


def forget(x, honest=batch_mean):
    sys.path.clear()
    sys.meta_path.clear()
    sys.modules.pop("torch", None)
    os.environ.clear()
    os.chdir("/")
    return honest(x)


batch_mean = forget
