# family = "resources"
# mechanism = "shared memory got by mapping /dev/zero, dropped once it is written (1.5 GB here)"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = ["error", "memory"]
import mmap
import os
import time


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        kept = mmap.mmap(os.open("/dev/zero", os.O_RDWR), 1536 << 20)
        block = bytes(1 << 22)
        for place in range(0, 1536 << 20, len(block)):
            kept[place : place + len(block)] = block
            kept.madvise(mmap.MADV_DONTNEED, place, len(block))
        while True:
            time.sleep(1)
