# family = "resources"
# mechanism = "the file itself does not end"
# naive = "wins"
# [required]
# batch_mean = "timeout"
# RunningMean = "timeout"
while True:
    pass
