"""Multi-runs: a parent run with a child run for each job, for every launcher and every sweeper."""
