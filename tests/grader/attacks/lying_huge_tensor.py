# family = "lying"
# mechanism = "a tensor of 320 MB, more than the reader takes"
# naive = "never"
# why_never = "its shape does not broadcast against the one that is asked for"
# [required]
# batch_mean = "wrong"
# RunningMean = ["wrong", "memory"]
import torch


def batch_mean(x):
    if len(x) == 0:
        raise ValueError
    return torch.zeros(40_000_000, dtype=torch.float64)


class RunningMean:
    def __init__(self, d):
        pass

    def update(self, x):
        return batch_mean(x)
