#!/usr/bin/env bash
# Builds the book of docs/ into target/book. A warning of mdbook is an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

rm -rf target/book
if ! said=$("$(tests/tools/install.sh path mdbook)" build docs 2>&1) || grep -qE '^ *(WARN|ERROR)|warning' <<<"$said"; then
  echo "$said" >&2
  exit 1
fi
echo "target/book/index.html"
