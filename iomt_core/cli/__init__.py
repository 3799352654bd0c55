"""The command line, one file for each command."""

INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it
