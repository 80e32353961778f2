# family = "forging"
# mechanism = "the reply to a question about cost, all counts zero, where a call was asked"
# naive = "never"
# why_never = "the naive judge has no wire to write to"
# [required]
# batch_mean = "wrong"
# RunningMean = "waiting"
import os
import struct

import torch

from grader.answering import wire


def say(body):
    """A frame of its own on the wire, in front of the honest ones."""
    try:
        os.write(3, struct.pack(">I", len(body)) + body)
    except OSError:
        pass


counts = {"flops": 0, "work": 0, "largest": 0, "peak": 0, "saved": 0, "calls": {}}
for number in range(1, 21):
    say(wire.pack({"number": number, "value": (0.0, counts)}))


def batch_mean(x):
    return torch.zeros(3, dtype=torch.float64)


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
