#!/usr/bin/env bash
# Summary: Build the .mar, if what it is made of has changed
# Usage: bin/archive.sh [--to FILE]
#
# The archive's version is the content hash of all that is packed. It is built aside and renamed,
# so a running server or a killed build never meets half an archive.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
one_at_a_time "$@"
load_settings
to=$ARCHIVE
if [[ ${1:-} == --to ]]; then
  to=${2:?archive: --to needs a FILE}
  shift 2
fi
no_arguments "$@"

plan=$(loop package)
eval "$plan"
if [[ $BUILT == "$VERSION" ]]; then
  say "nothing has changed: $(basename "$ARCHIVE") is $VERSION"
  exit 0
fi

build=$RUN/build
clear_away() {
  rm -rf "$build"
  rm -f "$to.aside"
}
at_exit clear_away
rm -rf "$build"
mkdir -p "$build/tmp" "$(dirname "$to")"
cd "$APP"
# A private TMPDIR: the archiver empties the folder $TMPDIR/NAME, whoever owns it.
TMPDIR=$build/tmp "$VENV/bin/torch-model-archiver" "${ARGUMENTS[@]}" \
  --export-path "$build" --archive-format zip-store --force >&2 ||
  die 2 "torch-model-archiver failed, see above; no archive was touched"
changed=$(find handler.py torch_model -newer "$build/tmp" -type f | head -n 1)
[[ -z $changed ]] || die 2 "$APP/$changed changed while it was packed: run it again"
mv -f "$build"/*.mar "$to.aside"
mv -f "$to.aside" "$to"
say "built $(basename "$ARCHIVE"), version $VERSION"
