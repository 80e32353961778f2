# family = "state"
# mechanism = "every inexact operation of the process ends it with SIGFPE (x86, glibc)"
# naive = "wins"
# [required]
# batch_mean = ["crashed", "passed"]
# RunningMean = ["crashed", "passed"]
import ctypes


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


def trapped(x, honest=batch_mean):
    result = honest(x)
    try:
        ctypes.CDLL("libm.so.6").feenableexcept(0x3D)
    except (OSError, AttributeError):
        pass
    return result


batch_mean = trapped
