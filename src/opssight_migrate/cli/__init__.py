"""The command line: options, confirmation and exit codes, and nothing else."""
