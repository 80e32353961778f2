# family = "exit"
# mechanism = "SIGKILL to process 1, then SIGTERM"
# naive = "never"
# why_never = "no signal from inside reaches the first process of the world that the naive judge is kept in"
# [required]
# batch_mean = "wrong"
# RunningMean = "waiting"
import contextlib
import os
import signal

import torch

for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
    with contextlib.suppress(OSError):
        os.kill(1, number)


def batch_mean(x):
    return torch.zeros(3, dtype=torch.float64)


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
