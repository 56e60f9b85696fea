#!/usr/bin/env bash
# Builds the book of docs/ into target/book. A warning of mdbook is an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

rm -rf target/book
if ! said=$("$(tests/tools/install.sh path mdbook)" build docs 2>&1) || grep -qE '^ *(WARN|ERROR)|warning' <<<"$said"; then
  echo "$said" >&2
  exit 1
fi
# mdbook copies every file that is no page: of the examples, also what running them has installed and stored
rm -rf target/book/examples/*/{node_modules,.venv,.data,__pycache__}
echo "target/book/index.html"
