#!/usr/bin/env bash
# Summary: Build the archive, restart TorchServe on it, wait until it answers
# Usage: [GPU=auto|cpu|all|0,2] [WARM=0] bin/redeploy.sh
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
began=$(clock)

plan=$(loop plan)
eval "$plan" # SERVING, RUNNING, RELOADED
if [[ -n $SERVING ]]; then
  echo "nothing has changed: $NAME serves $SERVING already"
  exit 0
fi

# What answered last is put back, whatever happens from here on: its archive by a rename, so that
# there is always one.
put_back() {
  rm -f "$next"
  [[ -e $ARCHIVE.served && ! $ARCHIVE.served -ef $ARCHIVE ]] || return 0
  ln -f "$ARCHIVE.served" "$ARCHIVE.aside" 2>/dev/null || cp -f "$ARCHIVE.served" "$ARCHIVE.aside"
  mv -f "$ARCHIVE.aside" "$ARCHIVE"
}
give_up() {
  put_back
  local state
  state=$(loop server state)
  [[ $state != no* ]] || loop warm stop
  say "interrupted: the archive is as before, and $state"
}
at_exit give_up

rm -f "$next"
"$bin/archive.sh" --next || refused=$? # torch-model-archiver
if [[ -n ${refused:-} ]]; then
  ((refused < 128)) || exit "$refused"
  trap - EXIT
  [[ -n $RUNNING ]] || loop warm stop
  die 4 "refused: nothing was touched"
fi
built=$(clock)

export KEEP_WARM=1
"$bin/stop.sh" >/dev/null # torchserve --stop
stopped=$(clock)

[[ ! -e $next ]] || mv -f "$next" "$ARCHIVE"

status=0
"$bin/start.sh" || status=$? # torchserve --start --ncs
((status < 128)) || exit "$status"
if ((status)) && [[ -z $RUNNING ]]; then
  trap - EXIT
  loop warm stop
  die 4 "the server did not come up"
elif ((status)); then
  say "the new server did not come up: starting what answered before"
  put_back
  again=0
  "$bin/start.sh" --as-served >&2 || again=$?
  ((again < 128)) || exit "$again"
  trap - EXIT
  ((again == 0)) || die 4 "what answered before does not come up either"
  if [[ -n $RELOADED ]]; then
    loop reload --back-to "$RELOADED" >&2 || die 4 "what answered before $RELOADED serves again"
  fi
  die 4 "failed: what was serving before serves again"
fi
trap - EXIT
ended=$(clock)
printf 'archive %s · stop %s · start %s · total %s\n' "$(seconds $((built - began)))" \
  "$(seconds $((stopped - built)))" "$(seconds $((ended - stopped)))" "$(seconds $((ended - began)))"
