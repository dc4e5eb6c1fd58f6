"""Images: decoding, bringing them to the backbone's size, varying them from epoch to epoch."""
