"""The northbound interface over HTTP: twins to step, fork and ask, private means, models, and the proof of the audit log.

Every request but the description of the interface shows a token, and the table of permissions (`access.table`) decides.
`routes` has the paths, `permissions` asks the gate, `views` says what of a step leaves, `twins` holds the twins of all callers.
"""
