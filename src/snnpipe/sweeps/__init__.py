"""Multi-runs: a parent run with a child a job, whichever launcher runs the jobs and whatever chooses them."""
