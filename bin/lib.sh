# shellcheck shell=bash
# Sourced by every command in bin/. It only defines: nothing is done until a command asks for it.

VERB=$(basename "$0" .sh)
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
APP=${APP:-$ROOT}
VENV=${VENV:-$ROOT/.venv}
[[ $VENV == /* ]] || VENV=$PWD/$VENV
export VERB APP VENV

say() { printf '%s: %s\n' "$VERB" "$*" >&2; }

# die CODE WHAT-AND-CURE...
die() {
  say "${@:2}"
  exit "$1"
}

# The help of a command is the comment at its head.
help() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }

# Without this, a script goes on after Ctrl-C if the command in front took it for itself.
end_on_signals() {
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

# begin "$@": what each command does first.
begin() {
  case ${1:-} in
    -h | --help)
      help
      exit 0
      ;;
  esac
  end_on_signals
  [[ -x $VENV/bin/python ]] || die 2 "there is no environment in $VENV: run \`make setup\`"
}

# at_exit COMMAND: run it when the script ends, and let no second Ctrl-C cut it short.
at_exit() {
  # shellcheck disable=SC2064 # $1 is to be expanded now
  trap "trap '' INT TERM; $1" EXIT
}

no_arguments() { (($# == 0)) || die 2 "takes no arguments, got \`$*\`: see $0 --help"; }

# Python of the toolkit. -P: a file in the working folder must not pass for one of our modules.
python() { PYTHONPATH=$ROOT "$VENV/bin/python" -P "$@"; }
loop() { python -m "loop.$1" "${@:2}"; }

# load_settings: APP (resolved), NAME, ARCHIVE and RUN. A command that another command calls
# finds them in its environment.
load_settings() {
  [[ ${SETTINGS_OF:-} != "$APP" ]] || return 0
  local resolved
  resolved=$(loop settings "$APP")
  eval "$resolved"
  export APP NAME ARCHIVE RUN SETTINGS_OF
}

# one_at_a_time "$@": begin the command again under the app's lock, unless it is held already.
one_at_a_time() {
  [[ -z ${LOOP_LOCK:-} ]] || return 0
  export USER_PYTHONPATH=${PYTHONPATH-}
  PYTHONPATH=$ROOT exec "$VENV/bin/python" -P -m loop.lock "$0" "$@"
}

# leave_word: have a command of smoke/ leave word of what was not answered, for `explain`.
leave_word() {
  UNANSWERED=$(mktemp 2>/dev/null) || return 0
  export UNANSWERED
  at_exit "rm -f '$UNANSWERED'"
}

# explain STATUS "$@": why such a command ended so, if that is known here.
explain() {
  case $1 in
    1) [[ ! -s ${UNANSWERED:-} ]] || loop explain "$UNANSWERED" || true ;;
    3) [[ -n ${URL:-} || " $* " == *" --url"* ]] || loop explain >&2 || true ;;
  esac
}

# Milliseconds on a clock; whole seconds where bash is too old to know better.
clock() {
  if [[ -n ${EPOCHREALTIME:-} ]]; then
    local micro=${EPOCHREALTIME/[.,]/}
    printf '%s' $((micro / 1000))
  else
    printf '%s' $((SECONDS * 1000))
  fi
}

# seconds MILLISECONDS: as "1.2 s"
seconds() { printf '%d.%d s' $(($1 / 1000)) $(($1 % 1000 / 100)); }
