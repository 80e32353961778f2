"""What is kept: the results of a batch, the progress of a learner."""
