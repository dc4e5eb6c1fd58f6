"""The operator: turns each FineTuneJob into one batch/v1 Job and says in its status how it goes.

A reconcile is one straight line, the same whatever triggered it:

    controller -> observe (cache, no I/O) -> decide (pure) -> apply (children, status, events)

`manifests` are the children as nouns, `findings` the checks that `decide` runs in order, `client`
and `connection` the way to the API server, `watching` and `resync` what keeps the cache true.
"""
