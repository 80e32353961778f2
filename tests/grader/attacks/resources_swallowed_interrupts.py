# family = "resources"
# mechanism = "a loop that catches every exception, KeyboardInterrupt and SystemExit too"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "timeout"
import signal


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


def again(*args):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


class RunningMean:
    def __init__(self, d):
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, again)
        again()
