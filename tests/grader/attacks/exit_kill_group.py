# family = "exit"
# mechanism = "SIGKILL to the own process group, in which the judge may be"
# naive = "wins"
# [required]
# batch_mean = ["crashed", "error"]
# RunningMean = ["crashed", "error"]
import os
import signal

os.killpg(0, signal.SIGKILL)
