# family = "forging"
# mechanism = "a frame that announces four gigabytes"
# naive = "never"
# why_never = "the naive judge has no wire to write to"
# [required]
# batch_mean = "error"
# RunningMean = "error"
import os
import struct

import torch


def say(body):
    """A frame of its own on the wire, in front of the honest ones."""
    try:
        os.write(3, struct.pack(">I", len(body)) + body)
    except OSError:
        pass


os.write(3, b"\xff\xff\xff\xff" + bytes(64)) if os.path.exists("/proc/self/fd/3") else None


def batch_mean(x):
    return torch.zeros(3, dtype=torch.float64)


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
