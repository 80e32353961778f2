# family = "lying"
# mechanism = "infinite and largest floats, so that the tolerance overflows"
# naive = "never"
# why_never = "inf - want is inf, which is larger than any tolerance"
# [required]
# batch_mean = "wrong"
# RunningMean = ["waiting", "wrong"]
import torch


def batch_mean(x):
    if len(x) == 0:
        raise ValueError
    largest = torch.finfo(x.dtype).max
    return torch.tensor([float("inf"), -largest, largest], dtype=x.dtype)


class RunningMean:
    def __init__(self, d):
        pass

    def update(self, x):
        return batch_mean(x)
