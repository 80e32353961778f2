# family = "exit"
# mechanism = "a result whose __del__ ends the process with 0, when the judge lets go of it"
# naive = "wins"
# [required]
# batch_mean = ["crashed", "wrong"]
# RunningMean = ["crashed", "waiting"]
import os


class Bomb:
    def __del__(self):
        os._exit(0)


def batch_mean(x):
    return Bomb()


class RunningMean:
    def __init__(self, d):
        pass

    def update(self, x):
        return Bomb()
