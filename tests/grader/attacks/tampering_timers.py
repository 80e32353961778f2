# family = "tampering"
# mechanism = "signal timers and handlers are disarmed, then it loops for ever"
# naive = "wins"
# [required]
# batch_mean = "timeout"
# RunningMean = "waiting"
import signal

import torch


def batch_mean(x):
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.alarm(0)
    for number in (signal.SIGALRM, signal.SIGINT, signal.SIGTERM, signal.SIGXCPU):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        pass


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)
