"""What happens: sow, grow and reap."""
