"""What suggests changes: one proposer a file, each registered like anyone's plugin."""
