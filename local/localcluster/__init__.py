"""A single-node Kubernetes for the demo and the tests, built and run without Docker."""
