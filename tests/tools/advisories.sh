#!/usr/bin/env bash
# Checks the dependencies against the RustSec advisories, where a copy of their database is at hand: nothing is fetched here.
set -euo pipefail
if ! compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-db*/*" >/dev/null; then
  echo "skipped: no advisory database; \`cargo deny fetch\` gets it from GitHub, as the hosted workflow does"
  exit 0
fi
exec "$(dirname "${BASH_SOURCE[0]}")/install.sh" exec cargo-deny --locked check --disable-fetch advisories
