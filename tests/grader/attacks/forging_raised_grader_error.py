# family = "forging"
# mechanism = "a forged verdict that blames the grader"
# naive = "never"
# why_never = "the naive judge has no wire to write to"
# [required]
# batch_mean = "error"
# RunningMean = ["error", "waiting", "wrong"]
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


for verdict in ("grader error", "not run", "nonsense"):
    described = {"kind": "E", "base": "Unusable", "said": "x", "lines": [], "own": True, "verdict": verdict}
    say(wire.pack({"number": 1, "raised": described}))


def batch_mean(x):
    return torch.zeros(3, dtype=torch.float64)


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
