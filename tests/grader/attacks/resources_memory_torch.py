# family = "resources"
# mechanism = "tensors without end (1.5 GB here)"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "memory"
import torch


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        kept = [torch.ones(1 << 24, dtype=torch.float64) for _ in range(12)]
        while kept:
            pass
