# family = "lying"
# mechanism = "an integer of six million digits, which takes minutes to print"
# naive = "wins"
# [required]
# batch_mean = "wrong"
# RunningMean = ["waiting", "wrong"]
import sys

sys.set_int_max_str_digits(0)


def batch_mean(x):
    if len(x) == 0:
        raise ValueError
    return 1 << 20_000_000


class RunningMean:
    def __init__(self, d):
        pass

    def update(self, x):
        return batch_mean(x)
