"""The paper's algorithms: one short file each that says what it changes, and the losses they share."""
