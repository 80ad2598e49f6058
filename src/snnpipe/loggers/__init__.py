"""Where parameters, metrics and files of a run go."""
