# family = "exit"
# mechanism = "sys.exit() while the file is imported: no Exception, so a handler of those lets it through"
# naive = "wins"
# [required]
# batch_mean = "error"
# RunningMean = "error"
import sys

sys.exit()
