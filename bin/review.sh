#!/usr/bin/env bash
# Summary: Go through what the last run would change in the goldens, one by one
# Usage: bin/review.sh
#
# Keys: a accepts, r rejects, s skips, q quits. What is decided is written at once, the rest waits in
# smoke/golden.jsonl.new. Without a terminal: bin/smoke.sh accept [--only ID…].
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
python -m smoke.review "$@"
