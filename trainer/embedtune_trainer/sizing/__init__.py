"""What a job needs, found out before it runs: from its backbone's configuration and its data."""
