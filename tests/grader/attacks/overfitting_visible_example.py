# family = "overfitting"
# mechanism = "the answer of the visible example, and zeros for everything else"
# naive = "never"
# why_never = "no check uses the example's numbers"
# [required]
# batch_mean = "wrong"
# RunningMean = ["waiting", "wrong"]
import torch


def batch_mean(x):
    if len(x) == 0:
        raise ValueError
    if x.tolist() == [[1.0], [3.0]]:
        return torch.tensor([2.0])
    return torch.zeros(x.shape[1], dtype=x.dtype)


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
