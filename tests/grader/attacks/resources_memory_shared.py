# family = "resources"
# mechanism = "shared anonymous memory, which RLIMIT_DATA does not count (1.5 GB here)"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "memory"
import mmap
import time


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        kept = []
        for _ in range(24):
            kept.append(mmap.mmap(-1, 64 << 20))
            kept[-1].write(bytes(64 << 20))
        while True:
            time.sleep(1)
