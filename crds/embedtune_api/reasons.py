"""Every reason that a condition, an event or a failure can carry, each with its meaning.

A reason is part of the API: people alert on it. Names are never reused for something else.
"""

from typing import Final

# Conditions while a job goes on
SIZING: Final = "Sizing"
"""A pod finds out what the job needs that spec.resources leaves out."""
SIZED: Final = "Sized"
"""An Event's: what was found, and why; it stands in status.resources."""
CREATED: Final = "Created"
"""The child Job exists, no pod yet."""
UNSCHEDULABLE: Final = "Unschedulable"
"""No node can take the pod; the message is the scheduler's."""
IMAGE_PULL_FAILED: Final = "ImagePullFailed"
"""The kubelet cannot pull the trainer's image."""
CONTAINER_CONFIG_ERROR: Final = "ContainerConfigError"
"""The pod names something that is missing, mostly the Secret."""
POD_PENDING: Final = "PodPending"
"""The pod is scheduled and its container is being made."""
TRAINING: Final = "Training"
"""The trainer runs."""
RETRYING: Final = "Retrying"
"""An attempt failed in a way that a retry may mend."""
QUEUED: Final = "Queued"
"""Kueue holds the job: its queue has no room, another job has its place, or it is in no queue."""
SUSPENDING: Final = "Suspending"
"""spec.suspend is true, and the pod writes its checkpoint."""
SUSPENDED: Final = "Suspended"
"""spec.suspend is true, and no pod is left."""
RESUMED: Final = "Resumed"
"""spec.suspend is false again, and a pod is to be made."""

# Conditions of a job whose runtime does not let it begin; it does when that has changed
RUNTIME_NOT_FOUND: Final = "RuntimeNotFound"
"""There is no runtime of the kind and name that spec.runtime gives."""
RUNTIME_AMBIGUOUS: Final = "RuntimeAmbiguous"
"""Two runtimes of one scope say that they are the default; the message names them."""
RUNTIME_INVALID: Final = "RuntimeInvalid"
"""The runtime as stored does not parse; the message names the field."""
RESOURCE_CLASS_NOT_FOUND: Final = "ResourceClassNotFound"
"""The runtime has no class of the name that spec.resources.className gives."""
OUTPUT_MISSING: Final = "OutputMissing"
"""Neither spec.output.uri nor a runtime says where the model goes."""
WAITS_FOR_RUNTIME: Final = (
    RUNTIME_NOT_FOUND,
    RUNTIME_AMBIGUOUS,
    RUNTIME_INVALID,
    RESOURCE_CLASS_NOT_FOUND,
    OUTPUT_MISSING,
)

# Conditions of a finished job
SUCCEEDED: Final = "Succeeded"
"""The model is in its place."""
IMPROVED: Final = "Improved"
"""The model is in its place, and as much better as the gate asks."""
NOT_IMPROVED: Final = "NotImproved"
"""The model is in its place, and not as much better as the gate asks."""
BACKOFF_LIMIT_EXCEEDED: Final = "BackoffLimitExceeded"
"""More attempts failed than runPolicy.backoffLimit allows."""
DEADLINE_EXCEEDED: Final = "DeadlineExceeded"
"""runPolicy.activeDeadlineSeconds has passed."""
PENDING_DEADLINE_EXCEEDED: Final = "PendingDeadlineExceeded"
"""runPolicy.pendingDeadlineSeconds has passed without a running pod."""
TOO_LARGE: Final = "TooLarge"
"""The job needs more memory than the platform gives without being asked."""
CHILD_DELETED: Final = "ChildDeleted"
"""The child Job, or its finished pod with the result, was deleted by someone else."""
CREATE_FAILED: Final = "CreateFailed"
"""The API server refuses the child (quota, admission); the message is its."""

# Failures of an attempt, from the trainer
BAD_SPEC: Final = "BadSpec"
"""The spec asks for something that cannot be done; the message names the field."""
BAD_DATA: Final = "BadData"
"""The data is wrong; the message names file, row and column."""
UNSUPPORTED_MODEL: Final = "UnsupportedModel"
"""The backbone's folder is not one that embedtune can load."""
NOT_FOUND: Final = "NotFound"
"""A URI names nothing."""
ACCESS_DENIED: Final = "AccessDenied"
"""The storage refuses the credentials."""
DIVERGED: Final = "Diverged"
"""The loss is not a number any more."""
COLLAPSED: Final = "Collapsed"
"""All embeddings have become one and the same."""
NOTHING_LEARNT: Final = "NothingLearnt"
"""No step had anything to learn from, or no weight has changed."""
STORAGE_UNAVAILABLE: Final = "StorageUnavailable"
"""The storage does not answer; a retry may help."""
INTERRUPTED: Final = "Interrupted"
"""The trainer was told to stop (SIGTERM); a retry goes on."""
REGROUPED: Final = "Regrouped"
"""The first node was stopped so that one that has come since trains, too; no failure."""
PEER_LOST: Final = "PeerLost"
"""Another process of the training ended or did not come, and this one ended with it."""
INTERNAL_ERROR: Final = "InternalError"
"""A defect in the trainer; the message ends with the traceback's last lines."""

# Failures of an attempt, from the kubelet
OOM_KILLED: Final = "OOMKilled"
"""The container used more memory than its limit."""
EPHEMERAL_STORAGE_EXCEEDED: Final = "EphemeralStorageExceeded"
"""The pod's work folder held more than the platform allows."""
POD_DELETED: Final = "PodDeleted"
"""The pod vanished while it ran."""
EVICTED: Final = "Evicted"
"""The node was drained, preempted or lost."""
UNKNOWN_EXIT: Final = "UnknownExit"
"""The container ended without a result."""

# Events of a job that is being deleted, where output.retain is false
MODEL_REMOVED: Final = "ModelRemoved"
"""Everything under the job's prefix is gone."""
MODEL_NOT_REMOVED: Final = "ModelNotRemoved"
"""What is under the job's prefix could not be removed; the message says why."""
