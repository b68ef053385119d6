#!/usr/bin/env bash
# Summary: Ask the served model about one text
# Usage: bin/predict.sh [--top-k N] [--version V] [--url URL] "text" | -f FILE | -
#
# Prints the answer as JSON. A file that ends in .json is sent as JSON, any other as text; - reads
# stdin. A text that begins with a dash goes behind --.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"

status=0
{ said=$(python -m smoke.predict "$@" 2>&1 >&3); } 3>&1 || status=$?
[[ -z $said ]] || printf '%s\n' "$said" >&2
# The server's own words for all that a handler may raise are "Prediction failed".
if ((status == 1)) && [[ $said =~ x-request-id\ ([0-9a-f-]+) ]]; then
  loop why --brief "${BASH_REMATCH[1]}" >&2 2>/dev/null || true
fi
exit "$status"
