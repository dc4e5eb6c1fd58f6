"""What a model is measured on, and the metrics."""
