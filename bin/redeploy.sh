#!/usr/bin/env bash
# Summary: Build the archive, restart TorchServe on it, wait until it answers
# Usage: [GPU=auto|cpu|all|0,2] bin/redeploy.sh
#
# The old server answers until the new archive is whole. If the new one does not come up, its cause
# is printed, the previous archive is put back and serves again, and the exit code is 4.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
one_at_a_time "$@"
load_settings
bin=$ROOT/bin
next=$ARCHIVE.next
previous=$ARCHIVE.previous
began=$(clock)

plan=$(loop plan) || die 4 "refused: nothing was touched"
eval "$plan"
if [[ -n $SERVING ]]; then
  echo "nothing has changed: $NAME serves $SERVING already"
  exit 0
fi

"$bin/archive.sh" --to "$next" || die 4 "refused: nothing was touched" # torch-model-archiver
built=$(clock)

swapped=false
put_back() {
  if $swapped; then
    rm -f "$ARCHIVE"
    [[ ! -e $previous ]] || mv -f "$previous" "$ARCHIVE"
  fi
}
give_up() {
  put_back
  say "interrupted: the archive is as before, and no server runs: \`make start\`"
}
at_exit give_up

"$bin/stop.sh" >/dev/null # torchserve --stop
stopped=$(clock)

if [[ -e $next ]]; then
  [[ ! -e $ARCHIVE ]] || mv -f "$ARCHIVE" "$previous"
  swapped=true
  mv -f "$next" "$ARCHIVE"
fi

status=0
"$bin/start.sh" || status=$? # torchserve --start --ncs
((status < 128)) || exit "$status"
trap - EXIT
if ((status)); then
  put_back
  if [[ -z $RUNNING ]]; then die 4 "the server did not come up"; fi
  say "the new server did not come up: starting the previous archive again"
  "$bin/start.sh" >&2 || die 4 "the previous archive does not come up either: see \`make logs\`"
  die 4 "failed: what was serving before serves again"
fi
done=$(clock)
printf 'archive %s · stop %s · start %s · total %s\n' "$(seconds $((built - began)))" \
  "$(seconds $((stopped - built)))" "$(seconds $((done - stopped)))" "$(seconds $((done - began)))"
