# family = "exit"
# mechanism = "SIGKILL to every process that may be signalled (pid -1)"
# naive = "wins"
# [required]
# batch_mean = "wrong"
# RunningMean = "waiting"
import contextlib
import os
import signal

import torch

with contextlib.suppress(OSError):
    os.kill(-1, signal.SIGKILL)


def batch_mean(x):
    return torch.zeros(3, dtype=torch.float64)


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
