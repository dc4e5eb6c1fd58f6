"""`make demo`: one FineTuneJob from `kubectl apply` to a better model in S3, nothing faked."""
