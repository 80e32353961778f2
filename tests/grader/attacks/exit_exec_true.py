# family = "exit"
# mechanism = "execv of /bin/true: another program ends with 0 in the process's place"
# naive = "wins"
# [required]
# batch_mean = "crashed"
# RunningMean = "crashed"
import os

os.execv("/bin/true", ["pytest"])
