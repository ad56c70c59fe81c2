/* Metrics: what Prometheus scrapes, from one table. Any thread.
 * Labels are names from the configuration, routes and codes: never anything a client chooses. */
#ifndef GATEWAY_METRICS_H
#define GATEWAY_METRICS_H

/* name, kind, labels (comma-separated, at most two), help */
#define METRICS(X)                                                                                 \
    X(HTTP_REQUESTS, "tollgate_http_requests_total", COUNTER, "route,code", "HTTP answers")        \
    X(HTTP_SECONDS, "tollgate_http_request_seconds", HISTOGRAM, "", "From request to answer")      \
    X(CONNECTIONS, "tollgate_connections", GAUGE, "", "Open client connections")                   \
    X(CONNECTIONS_REFUSED, "tollgate_connections_refused_total", COUNTER, "cap",                   \
      "Connections closed at once since too many were open: in all, or from the address")          \
    X(POLICY_DECISIONS, "tollgate_policy_decisions_total", COUNTER, "team,decision",               \
      "Decisions of the teams' policies")                                                          \
    X(QUEUE_DEPTH, "tollgate_queue_depth", GAUGE, "team", "Actions waiting")                       \
    X(QUEUE_WAIT, "tollgate_queue_wait_seconds", HISTOGRAM, "team",                                \
      "From acceptance to being sent")                                                             \
    X(UPSTREAM_CALLS, "tollgate_upstream_calls_total", COUNTER, "account,outcome",                 \
      "Calls to the upstream")                                                                     \
    X(UPSTREAM_SECONDS, "tollgate_upstream_call_seconds", HISTOGRAM, "account",                    \
      "Duration of calls to the upstream")                                                         \
    X(BUDGET_SLOTS, "tollgate_budget_slots", GAUGE, "account,state",                               \
      "Slots of the account's window: free, in_flight (waiting for the answer), used")             \
    X(CALL_REQUESTS, "tollgate_call_requests", HISTOGRAM, "", "Requests that shared a call")       \
    X(CALL_DEVICES, "tollgate_call_devices", HISTOGRAM, "", "Devices in a call")                   \
    X(CALLS_SAVED, "tollgate_calls_saved_total", COUNTER, "team", "Calls saved by sharing")        \
    X(TOKEN_EXPIRY, "tollgate_token_expiry_timestamp_seconds", GAUGE, "account",                   \
      "When the upstream token expires; 0 = not known")                                            \
    X(OVERLOAD_REFUSED, "tollgate_overload_refused_total", COUNTER, "",                            \
      "Action calls refused since more came than can be recorded in time")                         \
    X(AUDIT_RECORDS, "tollgate_audit_records_total", COUNTER, "event", "Audit records stored")     \
    X(AUDIT_FAILURES, "tollgate_audit_append_failures_total", COUNTER, "",                         \
      "Writes that the store refused")                                                             \
    X(AUDIT_STREAM_LAG, "tollgate_audit_stream_lag_records", GAUGE, "stream",                      \
      "Audit records that a stream has not sent yet")                                              \
    X(AUDIT_STREAM_ERRORS, "tollgate_audit_stream_errors_total", COUNTER, "stream",                \
      "Failures of an audit stream, and records it could not send whole")                          \
    X(BAD_KEYS_THROTTLED, "tollgate_bad_keys_throttled_total", COUNTER, "",                        \
      "Refusals of bad keys that were delayed, or ended their connection")                         \
    X(CERTIFICATES_REFUSED, "tollgate_client_certificates_refused_total", COUNTER, "reason",       \
      "Client certificates that did not verify")                                                   \
    X(LEADER, "tollgate_leader", GAUGE, "account", "1 where this gateway dispatches")              \
    X(FOREIGN_CALLS, "tollgate_foreign_calls_suspected_total", COUNTER, "account",                 \
      "Signs that somebody else uses the account")                                                 \
    X(BUILD_INFO, "tollgate_build_info", GAUGE, "version", "Always 1")

enum metric {
#define METRIC_ENUM(id, name, kind, labels, help) METRIC_##id,
    METRICS(METRIC_ENUM)
#undef METRIC_ENUM
        METRIC_COUNT
};

/* Adds to a counter. Labels that the metric does not have are NULL. */
void metrics_add(enum metric metric, const char *label1, const char *label2, double value);

/* Sets a gauge. */
void metrics_set(enum metric metric, const char *label1, const char *label2, double value);

/* Observes a value of a histogram. */
void metrics_observe(enum metric metric, const char *label1, double value);

/* The whole in the Prometheus text format 0.0.4. The caller frees. */
char *metrics_text(void);

#endif
