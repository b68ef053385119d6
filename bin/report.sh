#!/usr/bin/env bash
# Summary: Tell what the last smoke run amounts to: tables, and one page of HTML
# Usage: bin/report.sh
#
# Asks nothing: it reads what bin/smoke.sh has left in .run/smoke/, and writes report.html there. Its
# statistics explain, and decide nothing: the exit code is 0 whatever they say.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
python -m smoke.report.page "$@"
