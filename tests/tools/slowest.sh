#!/usr/bin/env bash
# Prints the twenty slowest tests of the last runs (seconds, group, test) and how many passed and failed, from the JUnit files that
# nextest writes.
#
#   slowest.sh [COUNT]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

shopt -s nullglob
files=(target/nextest/*/junit.xml)
((${#files[@]})) || exit 0
echo
echo "The slowest tests, in seconds:"
grep -ho '<testcase [^>]*>' "${files[@]}" |
  sed -E 's/.* name="([^"]*)".* classname="([^"]*)".* time="([^"]*)".*/\3 \2 \1/; s/eventcast-tests:://' |
  sort -rn | awk -v count="${1:-20}" 'NR <= count'

total() { # ATTRIBUTE: the sum of what the runs report
  sed -nE "s/.*<testsuites .*$1=\"([0-9]+)\".*/\1/p" "${files[@]}" | awk '{ sum += $1 } END { print sum + 0 }'
}
failed=$(($(total failures) + $(total errors)))
result=ok
if ((failed > 0)); then result=FAILED; fi
echo
echo "test result: $result. $(($(total tests) - failed)) passed; $failed failed; in ${#files[@]} runs"
