# family = "resources"
# mechanism = "private copies of the pages of a library's file"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "memory"
import mmap
import os
import time

import torch


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        path = os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so")
        kept = []
        for _ in range(16):
            with open(path, "rb") as file:
                copy = mmap.mmap(
                    file.fileno(), 100 << 20, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
                )
            for place in range(0, 100 << 20, 4096):
                copy[place] = 1
            kept.append(copy)
        time.sleep(1000)
