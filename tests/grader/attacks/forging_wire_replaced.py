# family = "forging"
# mechanism = "the wire's descriptor is closed and another put in its place"
# naive = "never"
# why_never = "the naive judge has no wire to write to"
# [required]
# batch_mean = ["error", "crashed", "timeout"]
# RunningMean = "waiting"
import os
import socket

import torch


def batch_mean(x):
    ours, theirs = socket.socketpair()
    if os.path.exists("/proc/self/fd/3"):
        os.dup2(theirs.fileno(), 3)
    return torch.zeros(3, dtype=torch.float64)


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
