# family = "resources"
# mechanism = "pages given to pipes, where they are held when nobody maps them any more (1 GB here)"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = ["error", "memory"]
import ctypes
import mmap
import os
import time


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        libc = ctypes.CDLL(None, use_errno=True)
        given = mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        given.madvise(14)  # MADV_HUGEPAGE: of each page of 2 MB one small part keeps the whole
        start, kept = ctypes.addressof(ctypes.c_char.from_buffer(given)), []
        for _ in range(48):
            kept.append(os.pipe())
            for place in range(0, 32 << 20, 2 << 20):
                given[place] = 1
                part = (ctypes.c_size_t * 2)(start + place, 4096)
                if libc.vmsplice(kept[-1][1], part, ctypes.c_size_t(1), 8) != 4096:
                    raise OSError(ctypes.get_errno(), "a page could not be given away")
            given.madvise(mmap.MADV_DONTNEED)
        while True:
            time.sleep(1)
