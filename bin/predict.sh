#!/usr/bin/env bash
# Summary: Ask the served model about one text
# Usage: bin/predict.sh [--top-k N] [--version V] [--url URL] "text" | -f FILE | -
#        bin/predict.sh "text" --save ID [--label TRUTH] [--tag T]…
#
# Prints the answer as JSON. A file that ends in .json is sent as JSON, any other as text; - reads
# stdin. A text that begins with a dash goes behind --. With --save, the text becomes a sample of the
# app and the answer its golden.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"

leave_word
status=0
python -m smoke.predict "$@" || status=$?
explain "$status" "$@" >&2
exit "$status"
