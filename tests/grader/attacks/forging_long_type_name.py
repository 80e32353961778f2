# family = "forging"
# mechanism = "a forged exception whose type has a name of three million characters, to fill the results file"
# naive = "never"
# why_never = "the naive judge has no wire to write to"
# [required]
# batch_mean = ["error", "wrong"]
# RunningMean = ["error", "wrong", "waiting"]
import os
import struct

import torch

from grader.answering import wire


def say(body):
    """A frame of its own on the wire, in front of the honest ones."""
    body = struct.pack(">I", len(body)) + body
    try:
        while body:
            body = body[os.write(3, body) :]
    except OSError:
        pass


def batch_mean(x):
    for number in range(1, 9):
        raised = {"kind": "\x01" * 3_000_000, "base": "ValueError", "said": "", "lines": [], "own": True}
        say(wire.pack({"number": number, "raised": raised}))
    return torch.zeros(3, dtype=torch.float64)


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return batch_mean(x)
