"""Where files come from and models go to: S3, the local file system."""
