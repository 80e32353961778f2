# family = "exit"
# mechanism = "a recursion through C without Python's limit: the machine's stack overflows"
# naive = "wins"
# [required]
# batch_mean = "crashed"
# RunningMean = "waiting"
import sys

import torch

sys.setrecursionlimit(1 << 30)


def batch_mean(x):
    return list(map(batch_mean, [x]))


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
