# family = "resources"
# mechanism = "memory that is given back only when the machine needs it (MADV_FREE), 2 GB"
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
        for _ in range(8):
            memory = mmap.mmap(-1, 256 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            for place in range(0, 256 << 20, 4096):
                memory[place] = 1
            memory.madvise(8)
            kept.append(memory)
        time.sleep(1000)
