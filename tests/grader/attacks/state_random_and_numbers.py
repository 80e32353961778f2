# family = "state"
# mechanism = "seeds of random, numpy and torch, the locale, number formats, time zone, gc"
# naive = "never"
# why_never = "the answers are right, and the next ones draw, print and read nothing"
# [required]
# batch_mean = "passed"
# RunningMean = "passed"
import decimal
import gc
import locale
import os
import random
import sys
import time

import numpy as np
import torch


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


random.seed(0)
np.random.seed(0)
torch.manual_seed(0)
np.seterr(all="raise")
np.set_printoptions(precision=0)
torch.set_printoptions(precision=0)
locale.setlocale(locale.LC_ALL, "C")
sys.set_int_max_str_digits(640)
decimal.getcontext().prec = 1
os.environ["TZ"] = "Pacific/Kiritimati"
time.tzset()
gc.disable()
gc.freeze()
