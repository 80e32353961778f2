# family = "forging"
# mechanism = "half a frame, then silence"
# naive = "wins"
# [required]
# batch_mean = "timeout"
# RunningMean = "waiting"
import os
import struct

import torch


def say(body):
    """A frame of its own on the wire, in front of the honest ones."""
    try:
        os.write(3, struct.pack(">I", len(body)) + body)
    except OSError:
        pass


def batch_mean(x):
    os.write(3, struct.pack(">I", 1000) + b"\x81")
    read, _ = os.pipe()
    os.read(read, 1)  # which nobody writes to


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
