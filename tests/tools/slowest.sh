#!/usr/bin/env bash
# Prints the twenty slowest tests of the last runs, from the JUnit files that nextest writes: seconds, group, test.
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
