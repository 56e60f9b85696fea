#!/usr/bin/env bash
# Packs the chart and the images of "the last release", from which the suite upgrades, into target/images/previous, and prints the
# path of the chart. Nothing is released yet: these are the sources of this tree under an older version number. When there is a
# release, its chart and images belong here instead.
#
#   previous.sh       after `make images`
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=0.0.1
folder=$target/images/previous
registry=${EVENTCAST_IMAGE_REGISTRY:-ghcr.io/eventcast}

mkdir -p "$folder"
for part in operator broker; do
  program=$target/images/programs/eventcast-$part
  [[ -f $program ]] || fail "no program at $program: make images"
  if [[ ! $folder/$part.tar -nt $program ]]; then
    "$repository/charts/pack.sh" "$folder/$part.tar" "$registry/eventcast-$part:$version" "$program" >&2
  fi
done
"$(tool helm)" package "$repository/charts/eventcast" --version "$version" --app-version "$version" \
  --destination "$folder" >/dev/null
echo "$folder/eventcast-$version.tgz"
