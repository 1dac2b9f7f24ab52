"""Tables and live views, drawn from the record of a session and from nothing else."""
