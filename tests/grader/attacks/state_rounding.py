# family = "state"
# mechanism = "the processor rounds towards infinity, and knows no denormals"
# naive = "never"
# why_never = "the answers are right, and the next ones are within the tolerance"
# [required]
# batch_mean = "passed"
# RunningMean = "passed"
import ctypes

import torch


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        self.count = 0
        self.total = 0

    def update(self, x):
        self.count += len(x)
        self.total = self.total + x.sum(0)
        return self.total / self.count


try:
    ctypes.CDLL("libm.so.6").fesetround(0x800)  # FE_UPWARD on x86
except OSError:
    pass
torch.set_flush_denormal(True)
