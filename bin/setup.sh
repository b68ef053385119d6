#!/usr/bin/env bash
# Summary: Make the virtual environment, with pinned packages and Java
# Usage: bin/setup.sh [train] [dev] [load]
#
# Installs what serving needs; `train`, `dev` and `load` add what training, checks and tests, and
# `make load` need.
# What is installed already is skipped, and an interrupted set-up goes on at the next run.
# VENV= says where (default .venv), PYTHON= with which Python (3.11 or newer; default python3).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Each part is done once its requirements are noted in the environment.
is_done() { cmp -s "$1" "$VENV/.done-$(basename "$1")"; }
note_done() { cp "$1" "$VENV/.done-$(basename "$1")"; }

# -q would hide the progress of a long download; without a terminal it is only noise.
install() {
  local quiet=()
  [[ -t 2 ]] || quiet=(--quiet)
  "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input \
    ${quiet[@]+"${quiet[@]}"} "$@" >&2
}

make_environment() {
  local python=${PYTHON:-python3}
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die 2 "$python is not Python 3.11 or newer: name one with PYTHON="
  if [[ -e $VENV && ! -e $VENV/pyvenv.cfg && -n $(ls -A "$VENV") ]]; then
    die 2 "$VENV is not empty and no virtual environment: name another folder with VENV="
  fi
  say "making the environment in $VENV"
  "$python" -m venv "$VENV"
}

# install_part NAME WORDS...
install_part() {
  local file=$ROOT/requirements/$1.txt
  if is_done "$file"; then return; fi
  say "installing ${*:2}"
  if [[ $1 == backbone ]]; then
    install --no-deps -r "$file"
  else
    install -r "$file" -c "$ROOT/requirements/constraints.txt"
  fi
  note_done "$file"
}

case ${1:-} in
  -h | --help) help && exit 0 ;;
esac
end_on_signals
for part in "$@"; do
  [[ $part =~ ^(train|dev|load)$ ]] || die 2 "there is no part $part: say train, dev or load"
done

constraints=$ROOT/requirements/constraints.txt
all_done() {
  local part
  for part in constraints serve backbone "$@"; do
    is_done "$ROOT/requirements/$part.txt" || return 1
  done
  [[ -e $VENV/.done-aot ]]
}
if all_done "$@"; then exit 0; fi

[[ -d $(dirname "$VENV") ]] || die 2 "there is no folder for $VENV: make it, or correct VENV="

# One set-up of an environment at a time; bash holds what this Python locks.
exec 8>"$VENV.lock"
"${PYTHON:-python3}" -c 'import fcntl; fcntl.flock(8, fcntl.LOCK_EX)'

if ! is_done "$constraints"; then
  # Other pins, perhaps another Java: every part is to be made anew.
  rm -f "$VENV"/.done-* "$VENV/torchserve.aot"
fi
[[ -e $VENV/.done-serve.txt ]] || make_environment
install_part serve "torch, TorchServe, transformers and Java (several minutes, once)"
install_part backbone "the default model's backbone"
for part in "$@"; do
  install_part "$part" "what $part needs"
done
if [[ ! -e $VENV/.done-aot ]]; then
  say "recording TorchServe's classes, so that it starts in half the time"
  loop jvm || true # Then it starts without; trying again at each run would cost more.
  touch "$VENV/.done-aot"
fi
note_done "$constraints"
