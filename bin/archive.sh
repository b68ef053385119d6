#!/usr/bin/env bash
# Summary: Build the .mar, or a workflow's .war, if what it is made of has changed
# Usage: bin/archive.sh
#
# The archive's version is the content hash of all that is packed. It is built aside and renamed,
# so a running server or a killed build never meets half an archive.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
one_at_a_time "$@"
load_settings
to=$ARCHIVE
if [[ ${1:-} == --next ]]; then
  # For bin/redeploy.sh, which puts it into place once the server has stopped.
  to=$ARCHIVE.next
  shift
fi
no_arguments "$@"

build=$RUN/build
clear_away() {
  rm -rf "$build"
  rm -f "$to.aside"
}
at_exit clear_away
rm -rf "$build"
mkdir -p "$build/tmp" "$(dirname "$to")"
touch "$build/began"

plan=$(loop archive)
eval "$plan" # APPS, TOOL, TREE, BUILT, FILES, ARGUMENTS
# A workflow's models are those of other apps, each with a lock of its own.
for app in ${APPS[@]+"${APPS[@]}"}; do
  env -u LOOP_LOCK APP="$app" "$ROOT/bin/archive.sh"
done
if [[ $BUILT == "$TREE" ]]; then
  say "nothing has changed: $(basename "$ARCHIVE") is $TREE"
  exit 0
fi

cd "$APP"
# A private TMPDIR: the archiver empties the folder $TMPDIR/NAME, whoever owns it.
TMPDIR=$build/tmp "$VENV/bin/$TOOL" "${ARGUMENTS[@]}" \
  --export-path "$build" --force >"$build/said" 2>&1 ||
  die 2 "$TOOL failed: $(tail -n 1 "$build/said"); no archive was touched"
changed=$(find "${FILES[@]}" -cnewer "$build/began")
[[ -z $changed ]] || die 2 "changed while it was packed: ${changed//$'\n'/, }: run it again"
mv -f "$build/$(basename "$ARCHIVE")" "$to.aside"
mv -f "$to.aside" "$to"
say "built $(basename "$ARCHIVE"), version $TREE"
