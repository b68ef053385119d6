#!/usr/bin/env bash
# Summary: Show requests, errors, times, tokens and memory of each version
# Usage: bin/metrics.sh [--once] [--every SECONDS]
#
# In the same place, every two seconds, until Ctrl-C; once where stdout is no terminal. docs/metrics.md
# says what the columns mean, and how Prometheus and Grafana get the same.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
loop metrics "$@"
