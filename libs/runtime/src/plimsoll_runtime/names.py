"""Every name of a metadata key, header, span, metric and attribute, in one place."""

# gRPC metadata
TENANT_KEY = "plimsoll-tenant"
PRINCIPAL_KEY = "plimsoll-principal"
TRACE_KEY = "traceparent"
STATUS_KEY = "grpc-status-details-bin"

# NATS headers
MESSAGE_ID_HEADER = "Nats-Msg-Id"  # JetStream deduplicates by it
TENANT_HEADER = "Plimsoll-Tenant"
TRACE_HEADER = "traceparent"
CAUSE_HEADER = "Plimsoll-Cause"
ATTEMPTS_HEADER = "Plimsoll-Attempts"
SUBJECT_HEADER = "Plimsoll-Subject"
SEQUENCE_HEADER = "Plimsoll-Sequence"

ERROR_DOMAIN = "plimsoll"  # google.rpc.ErrorInfo.domain

# metrics
RPC_SECONDS = "plimsoll_rpc_seconds"
MESSAGES_TOTAL = "plimsoll_messages_total"
DEAD_LETTERS_TOTAL = "plimsoll_dead_letters_total"
GUARD_LOCAL = "plimsoll_guard_local"
BREAKER_OPEN = "plimsoll_breaker_open"
FAULTS_TOTAL = "plimsoll_faults_injected_total"

# log and span attributes
TENANT = "tenant"
TRACE_ID = "trace_id"
