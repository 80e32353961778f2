# family = "exit"
# mechanism = "a recursion through C without Python's limit, in a thread with a small stack, which overflows"
# naive = "wins"
# [required]
# batch_mean = "crashed"
# RunningMean = "waiting"
import sys
import threading

import torch

sys.setrecursionlimit(1 << 30)
threading.stack_size(1 << 16)  # from Python 3.12 on the recursion ends with an exception before a large stack is full


def deep(x):
    return list(map(deep, [x]))


def batch_mean(x):
    thread = threading.Thread(target=deep, args=(x,))
    thread.start()
    thread.join()


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
