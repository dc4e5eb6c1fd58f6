"""Pre-trained networks as embedding models."""
