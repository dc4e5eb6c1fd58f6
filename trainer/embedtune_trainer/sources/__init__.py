"""Where files come from and models go to: S3, the hub, claims, the local file system."""
