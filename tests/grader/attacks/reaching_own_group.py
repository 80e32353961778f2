# family = "reaching"
# mechanism = "every signal that it ignores itself, sent to its own group, in which a watcher may be"
# naive = "wins"
# [required]
# batch_mean = "timeout"
# RunningMean = ["timeout", "waiting"]
import contextlib
import os
import signal
import time

for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.killpg(0, number)


def batch_mean(x):
    while True:  # for ever, if nobody watches any more
        time.sleep(1)


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return batch_mean(x)
