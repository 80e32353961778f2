"""A class graded on the workers of a Dask cluster: `grader grade --cluster`, `c.GradeParts.cluster`."""
