#!/usr/bin/env bash
# Packs operator and broker as container images, by the names that the chart asks for, into a folder.
#
#   images.sh FOLDER [PROGRAMS]     operator.tar and broker.tar; from PROGRAMS, a folder of static.sh, or else from programs that are
#                                   built into FOLDER/programs first
#
# EVENTCAST_IMAGE_REGISTRY names another registry than ghcr.io/eventcast.
set -euo pipefail

folder=${1:?usage: images.sh FOLDER [PROGRAMS]}
charts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
registry=${EVENTCAST_IMAGE_REGISTRY:-ghcr.io/eventcast}
value_of() { sed -n "s/^$1 = \"\(.*\)\"/\1/p" "$charts/../$2/Cargo.toml"; } # the first level of the file has it once
version=$(value_of version .)

programs=${2:-$folder/programs}
if (($# == 1)); then "$charts/static.sh" "$programs"; fi
for part in operator broker; do
  "$charts/pack.sh" "$folder/$part.tar" "$registry/eventcast-$part:$version" "$programs/eventcast-$part" \
    "title=Eventcast $part" "description=$(value_of description $part)" "version=$version" licenses=Apache-2.0 \
    source=https://github.com/eventcast/eventcast
done
