# The publish-state model of the specification, copied unchanged, and a main
# program that reads a JSON array of publish states from standard input,
# validates each, and fails on a member that the model does not have.

from pydantic import BaseModel
from typing import Dict, List, Optional
from datetime import datetime
from enum import Enum

class PublishStatus(str, Enum):
    PENDING = "PENDING"
    PLANNING = "PLANNING"
    PLAN_COMPLETE = "PLAN_COMPLETE"
    EXECUTING = "EXECUTING"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    RETRYING = "RETRYING"

class BatchMetrics(BaseModel):
    entities_created: int = 0
    entities_updated: int = 0
    entities_deleted: int = 0
    relationships_created: int = 0
    relationships_updated: int = 0
    relationships_deleted: int = 0
    execution_time_ms: int = 0

class FailureDetails(BaseModel):
    error_code: str
    error_message: str
    failed_operation: Optional[str] = None
    stack_trace: Optional[str] = None
    retry_count: int = 0

class PublishState(BaseModel):
    batch_id: str  # Unique identifier for the batch
    source_id: str  # Identifier for the source system
    workflow_run_id: str  # Reference to the workflow run
    s3_path: str  # Location of the transformed data
    source_timestamp: datetime  # When data was extracted from source
    processing_timestamp: datetime  # When data was transformed and written to S3
    publish_start_timestamp: Optional[datetime] = None  # When publish process began
    publish_end_timestamp: Optional[datetime] = None  # When publish process completed
    status: PublishStatus = PublishStatus.PENDING
    metrics: Optional[BatchMetrics] = None
    failure_details: Optional[FailureDetails] = None
    state_snapshot_path: Optional[str] = None  # S3 path to the state snapshot
    execution_plan_path: Optional[str] = None  # S3 path to the execution plan


if __name__ == "__main__":
    import json
    import sys

    def check(model, value):
        unknown = set(value) - set(model.model_fields)
        missing = set(model.model_fields) - set(value)
        if unknown or missing:
            sys.exit(f"{model.__name__}: unknown {sorted(unknown)}, missing {sorted(missing)}")

    for state in json.load(sys.stdin):
        check(PublishState, state)
        for name, model in [("metrics", BatchMetrics), ("failure_details", FailureDetails)]:
            if state[name] is not None:
                check(model, state[name])
        parsed = PublishState.model_validate(state)
        for name in ["source_timestamp", "processing_timestamp"]:
            if getattr(parsed, name).utcoffset() is None:
                sys.exit(f"{name} has no offset")
        print(parsed.batch_id, parsed.status.value)
