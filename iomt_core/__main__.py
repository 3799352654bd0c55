"""`python -m iomt_core`: the command line."""

from iomt_core.cli.app import main

if __name__ == "__main__":
    main()
