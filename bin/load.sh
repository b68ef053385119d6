#!/usr/bin/env bash
# Summary: Ask the samples without pause, by many users at a time: how fast, and what is lost
# Usage: USERS=16 TIME=30s bin/load.sh [LOCUST'S OPTIONS]
#
# Asks the app's own server, or URL= with TOKEN=. Prints requests, rate, percentiles and whatever
# failed, with its cause; Locust's report is in .run/load.html, its log in .run/load.log.
# --processes N spreads the users over processes; over machines, `--master --expect-workers N` here
# and `--worker --master-host HOST` there. Ctrl-C ends it early, and the figures are printed. Exit
# code 1: a request was not answered.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
# Not at once: Locust prints what it has, and its causes are told.
interrupted=
trap 'interrupted=1' INT

leave_word
status=0
python -m smoke.load.start "$@" || status=$?
explain "$status"
[[ -z $interrupted ]] || exit 130
exit "$status"
