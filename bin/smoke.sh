#!/usr/bin/env bash
# Summary: Ask the samples and compare the answers with the goldens
# Usage: bin/smoke.sh [run|accept] [--url URL] [--tolerance X] [--threads N] [--junit FILE]
#
# `accept` writes smoke/golden.jsonl; a run never does. Exit code 1: a label or score differs, or a
# prediction failed.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"

leave_word
status=0
python -m smoke "$@" || status=$?
explain "$status" "$@"
exit "$status"
