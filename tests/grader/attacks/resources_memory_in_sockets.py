# family = "resources"
# mechanism = "what was sent and is never received, in the buffers of pairs of sockets in many processes"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "memory"
import os
import socket
import time

PROCESSES, PAIRS = 50, 95


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


def fill():
    kept = []
    for _ in range(PAIRS):
        pair = socket.socketpair()
        for one in pair:
            try:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 512 << 10)
            except OSError:
                pass
            one.setblocking(False)
            try:
                while True:
                    one.send(bytes(65536))
            except OSError:
                pass
        kept.append(pair)
    time.sleep(1000)


class RunningMean:
    def __init__(self, d):
        for _ in range(PROCESSES):
            if os.fork() == 0:
                fill()
        time.sleep(1000)
