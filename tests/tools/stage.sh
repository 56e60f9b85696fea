#!/usr/bin/env bash
# Runs one stage of `make lint` or `make test`; prints its name before and its time after it.
#
#   stage.sh NAME COMMAND...
#
# EVENTCAST_STAGES names a file that gets a line for each stage: .ci/run prints them all at the end.
set -uo pipefail

name=$1
shift
printf '\n=== %s\n' "$name"
started=$SECONDS
"$@"
code=$?
if ((code == 0)); then result=passed; else result="failed with exit code $code"; fi
line=$(printf '%-40s %4d s  %s' "$name" $((SECONDS - started)) "$result")
echo "=== $line"
if [[ -n ${EVENTCAST_STAGES:-} ]]; then echo "$line" >>"$EVENTCAST_STAGES"; fi
exit $code
