#!/usr/bin/env bash
# Summary: Ask the samples and compare the answers with the goldens
# Usage: bin/smoke.sh [run|accept] [--url URL] [--tolerance X] [--threads N] [--junit FILE]
#
# `accept` writes smoke/golden.jsonl; a run never does. Exit code 1: a label or score differs, or a
# prediction failed.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"

status=0 since=$(now)
python -m smoke "$@" || status=$?
# Why samples were not answered, where the server is ours.
case $status in
  1) [[ ${1:-run} == accept ]] || loop explain samples "$since" || true ;;
  3) loop explain server "$since" >&2 || true ;;
esac
exit "$status"
