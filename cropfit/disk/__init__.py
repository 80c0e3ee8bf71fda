"""What is on disk: layout, files, and the only state machine."""
