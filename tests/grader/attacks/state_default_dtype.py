# family = "state"
# mechanism = "the default dtype of every later tensor is half precision"
# naive = "never"
# why_never = "the answers are right, and these checks and answers name their dtypes"
# [required]
# batch_mean = "passed"
# RunningMean = "passed"
import torch

torch.set_default_dtype(torch.float16)


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
