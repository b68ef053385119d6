#!/usr/bin/env bash
# Summary: Look for what could keep a deploy from working, and name the cure of each
# Usage: [GPU=auto|cpu|all|0,2] bin/doctor.sh [--fix] [--json]
#
# Changes nothing. With --fix, it ends processes of this app that have lost their server, and
# removes what a server or build that is gone has left, and says so. Exit code 1: something fails.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
loop doctor "$@"
