#!/usr/bin/env bash
# Checks that a release can begin: the workspace, the chart, its images and the tag have one version, and the changelog says what is new.
#
#   check.sh [TAG]      without a tag: of a rehearsal, whose changes may still be below `Unreleased`
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tag=${1:-}
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || fail "Cargo.toml has no version: $version"
if [[ -n $tag && $tag != "v$version" ]]; then fail "the tag is $tag, and Cargo.toml says $version: the tag of a release is v$version"; fi

chart=$repository/charts/eventcast/Chart.yaml
agrees() { # FILE PATTERN [COUNT]
  local found
  found=$(grep -cxE -- "$2" "$1") || true
  [[ $found == "${3:-1}" ]] || fail "${1#"$repository/"} does not say $version: it should have ${3:-1} of $2"
}
agrees "$chart" "version: ${version//./\\.}"
agrees "$chart" "appVersion: ${version//./\\.}"
agrees "$chart" " +image: ghcr.io/eventcast/eventcast-(operator|broker):${version//./\\.}" 2
agrees "$repository/charts/Dockerfile" "ARG VERSION=${version//./\\.}" 2
prerelease=false
if [[ $version == *-* ]]; then prerelease=true; fi
agrees "$chart" "  artifacthub.io/prerelease: \"$prerelease\""

notes=$("$release/notes.sh" "${tag:+$version}")
echo "version $version; $(wc -l <<<"$notes") lines of notes"
