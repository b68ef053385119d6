#!/usr/bin/env bash
# Summary: Ask the served model about one text
# Usage: bin/predict.sh [--top-k N] [--version V] [--url URL] "text" | -f FILE | -
#
# Prints the answer as JSON. A file that ends in .json is sent as JSON, any other as text; - reads
# stdin. A text that begins with a dash goes behind --.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"

status=0 since=$(now)
{ said=$(python -m smoke.predict "$@" 2>&1 >&3); } 3>&1 || status=$?
[[ -z $said ]] || printf '%s\n' "$said" >&2
# The server's own words for all that a handler may raise are "Prediction failed".
case $status in
  1) loop explain reply "$since" "$said" >&2 || true ;;
  3) loop explain server "$since" >&2 || true ;;
esac
exit "$status"
