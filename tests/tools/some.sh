#!/usr/bin/env bash
# `make t T=NAME`: builds and runs the tests whose path, <group>::<suite>::<test>, contains NAME, and only what they need.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
name=${1:?usage: make t T=NAME, a part of a test\'s path: make t T=retention}
cargo=${CARGO:-cargo}
install=tests/tools/install.sh

# Whether a folder of sources may have a test of this path: each part of NAME is in the path of a file or in the name of a function.
may_have() { # FOLDER
  local part
  for part in ${name//::/ }; do
    find "$1" -path "*$part*" | grep -q . || grep -rqE "fn [a-z0-9_]*$part" "$1" || return 1
  done
}

targets=() parts=(cargo-nextest nats-server)
for folder in tests/tests/*/; do
  may_have "$folder" || continue
  group=$(basename "$folder")
  targets+=(--test "$group")
  case $group in
    kube) parts+=(apiserver kubectl helm helm4 nats) ;;
    chart) parts+=(helm helm4 promtool kubectl nats) ;;
    browsers) parts+=(browsers clients examples) ;;
    proxies) parts+=(proxies) ;;
    api) parts+=(api-tools) ;;
  esac
done
for folder in crds/src crds/runtime/src broker/src broker/cli/src broker/wire/src operator/src tests/src; do
  if may_have "$folder"; then
    targets+=(--lib)
    break
  fi
done
if ((${#targets[@]} == 0)); then
  echo "no test has $name in its path" >&2
  exit 2
fi

"$install" "${parts[@]}"
# the programs too: a suite refuses one that is older than its sources
"$cargo" build --locked --workspace --bins "${targets[@]}"
group=${name%%::*} rest=${name#*::}
filter="test($name)"
if [[ -d tests/tests/$group ]]; then
  filter="binary($group)"
  if [[ $rest != "$name" ]]; then filter+=" & test($rest)"; fi
fi
"$install" exec "$cargo" nextest run --locked --workspace "${targets[@]}" --run-ignored "${IGNORED:-default}" -E "$filter"
