# family = "exit"
# mechanism = "os._exit(0) while the file is imported, before any check"
# naive = "wins"
# [required]
# batch_mean = "crashed"
# RunningMean = "crashed"
import os

os._exit(0)
