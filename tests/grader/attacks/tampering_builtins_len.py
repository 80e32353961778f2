# family = "tampering"
# mechanism = "builtins.len is 0 for whoever asks"
# naive = "wins"
# [required]
# batch_mean = ["wrong", "error", "crashed"]
# RunningMean = ["waiting", "error", "crashed"]
import builtins

import torch

builtins.len = lambda value: 0


def batch_mean(x):
    return torch.zeros(3, dtype=torch.float64)


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
