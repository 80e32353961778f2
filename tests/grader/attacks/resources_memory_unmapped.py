# family = "resources"
# mechanism = "shared memory of which all but one page is unmapped, and goes on being held (1.5 GB here)"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "memory"
import ctypes
import mmap
import time


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        libc, kept = ctypes.CDLL(None), []
        for _ in range(24):
            kept.append(mmap.mmap(-1, 64 << 20))
            kept[-1].write(bytes(64 << 20))
            start = ctypes.addressof(ctypes.c_char.from_buffer(kept[-1]))
            libc.munmap(ctypes.c_void_p(start + 4096), ctypes.c_size_t((64 << 20) - 4096))
        while True:
            time.sleep(1)
