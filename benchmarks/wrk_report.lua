-- Prints the results of a run as one line of JSON. Latencies are in microseconds.
function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    'report {"requests": %d, "microseconds": %d, "not_answered": %d, "refused": %d, "p50": %d, "p99": %d}',
    summary.requests, summary.duration, errors.connect + errors.read + errors.write + errors.timeout, errors.status,
    latency:percentile(50), latency:percentile(99)
  ))
end
