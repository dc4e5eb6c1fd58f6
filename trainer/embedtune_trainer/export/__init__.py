"""What of a model is written beside its own layout, and what is looked at before it is done."""
