#!/usr/bin/env bash
# Prints the notes of a release: what CHANGELOG.md says of it, how to install it, and how to verify it.
#
#   notes.sh [VERSION]     without one: the present version, or what is below `Unreleased`
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

section() { # HEADING: `## 1.2.3` or `## 1.2.3 - 2027-01-31`, without the empty lines around
  awk -v wanted="$1" '
    /^## / { inside = ($2 == wanted); next }
    inside && (NF || printed) { printed = 1; if (NF) { printf "%s%s\n", empty, $0; empty = "" } else empty = empty "\n" }
  ' "$repository/CHANGELOG.md"
}

wanted=${1:-$version}
changes=$(section "$wanted")
if [[ -z $changes && -z ${1:-} ]]; then changes=$(section Unreleased); fi
[[ -n $changes ]] || fail "CHANGELOG.md says nothing about $wanted: give it a section ## $wanted"

# Links of the changelog are relative to the repository.
printf '%s\n' "$changes" | sed -E "s#\]\(([^):]+)\)#]($website/blob/v$wanted/\1)#g"
cat <<END

### Install

\`\`\`
helm upgrade --install eventcast oci://ghcr.io/eventcast/charts/eventcast --version $wanted --namespace eventcast-system --create-namespace
kubectl krew install --manifest-url=$website/releases/download/v$wanted/eventcast.yaml
\`\`\`

\`images.txt\` has the digests of images and chart. [How to verify them]($website/blob/v$wanted/SECURITY.md#verifying-a-release); [how to upgrade]($website/blob/v$wanted/docs/UPGRADING.md).
END
