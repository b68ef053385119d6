#!/usr/bin/env bash
# Summary: Ask the samples and compare the answers with the goldens
# Usage: bin/smoke.sh [run] [--budget N] [--deep] [--resume] [--junit FILE] | accept [--only ID…]
#        either with [--url URL] [--token TOKEN] [--version V] [--tolerance X] [--threads N]
#
# `accept` writes smoke/golden.jsonl; a run never does: what differs it leaves in golden.jsonl.new
# beside that, for bin/review.sh. Exit code 1: a label or score differs, a prediction failed, or a
# check did. With --budget, up to N changed labels pass, and all that are fixes; a failure never does.
# --deep checks what single requests never show: parity with transformers' pipeline, answers among
# others and twice, and those of groups that expect the same.
# --resume goes on with a run that was stopped: it asks what is left, and what no response came for.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"

if [[ " $* " == *" --deep "* ]]; then
  CHANGED_SINCE=$(loop changed "$@" 2>/dev/null) || true
  export CHANGED_SINCE
fi
leave_word
status=0
python -m smoke "$@" || status=$?
explain "$status" "$@"
exit "$status"
