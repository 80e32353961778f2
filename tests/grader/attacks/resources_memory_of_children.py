# family = "resources"
# mechanism = "shared memory of many children, each with a little (1.5 GB in all)"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "memory"
import mmap
import os
import time


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        mapped, told = os.pipe()
        for _ in range(24):
            if os.fork() == 0:
                try:
                    kept = mmap.mmap(-1, 64 << 20)
                    kept.write(bytes(64 << 20))
                    kept.madvise(mmap.MADV_DONTNEED)
                except OSError:
                    os.write(told, b"-")
                while True:
                    time.sleep(1)
        if os.read(mapped, 1):
            raise MemoryError("no shared memory")
        while True:
            time.sleep(1)
