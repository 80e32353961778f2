# family = "resources"
# mechanism = "pages of shared memory, dropped once they are written: held, and mapped by nobody (1.5 GB here)"
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
        kept = mmap.mmap(-1, 2 << 30)
        block = bytes(1 << 22)
        for place in range(0, 1536 << 20, len(block)):
            kept[place : place + len(block)] = block
            kept.madvise(mmap.MADV_DONTNEED, place, len(block))
        while True:
            time.sleep(1)
