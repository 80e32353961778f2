# family = "exit"
# mechanism = "a null pointer read through ctypes"
# naive = "wins"
# [required]
# batch_mean = "crashed"
# RunningMean = "waiting"
import ctypes

import torch


def batch_mean(x):
    ctypes.string_at(0)


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
