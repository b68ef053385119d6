#!/usr/bin/env bash
# Summary: Say why a request failed: the cause, the line, and what the worker printed
# Usage: bin/why.sh [REQUEST_ID] [--brief] [--smoke]
#
# Without an id, the last request that failed. --smoke groups the samples that failed in the last
# run by their cause.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
loop why "$@"
