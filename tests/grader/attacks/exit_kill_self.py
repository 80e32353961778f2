# family = "exit"
# mechanism = "SIGKILL to itself inside a call"
# naive = "wins"
# [required]
# batch_mean = "crashed"
# RunningMean = "waiting"
import os
import signal

import torch


def batch_mean(x):
    os.kill(os.getpid(), signal.SIGKILL)


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
