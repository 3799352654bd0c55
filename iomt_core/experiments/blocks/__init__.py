"""The certificate of one step of a ward too large for one process: blocks of users in the processes of workers."""
