# family = "exit"
# mechanism = "os._exit(0) in a thread that the import starts, where no handler of exceptions is"
# naive = "wins"
# [required]
# batch_mean = "crashed"
# RunningMean = "crashed"
import os
import threading

thread = threading.Thread(target=os._exit, args=(0,))
thread.start()
thread.join()
