# family = "exit"
# mechanism = "SIGSTOP to itself: neither alive nor dead, and no handler runs"
# naive = "wins"
# [required]
# batch_mean = "timeout"
# RunningMean = "waiting"
import os
import signal

import torch


def batch_mean(x):
    os.kill(os.getpid(), signal.SIGSTOP)


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
