#!/usr/bin/env bash
# Summary: Follow all of the server's logs as one readable stream
# Usage: bin/logs.sh [-n LINES] [--no-follow] [--errors]
#
# Each line: time, worker, level, message, without the metrics and those who ask for them: see
# bin/metrics.sh. With --errors, only failures: each whole and once, its cause first.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
loop logs "$@"
