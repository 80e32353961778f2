# family = "exit"
# mechanism = "sys.exit(0) inside a call"
# naive = "never"
# why_never = "pytest takes SystemExit inside a test for a failure"
# [required]
# batch_mean = "error"
# RunningMean = "waiting"
import sys

import torch


def batch_mean(x):
    sys.exit(0)


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
