"""The command line, one file a command."""

INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it
