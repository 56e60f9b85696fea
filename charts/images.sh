#!/usr/bin/env bash
# Builds operator and broker and packs them as container images, by the names that the chart asks for, into a folder.
#
#   images.sh FOLDER     operator.tar and broker.tar, and the programs that are in them
#
# EVENTCAST_IMAGE_REGISTRY names another registry than ghcr.io/eventcast.
set -euo pipefail

folder=${1:?usage: images.sh FOLDER}
charts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
registry=${EVENTCAST_IMAGE_REGISTRY:-ghcr.io/eventcast}
value_of() { sed -n "s/^$1 = \"\(.*\)\"/\1/p" "$charts/../$2/Cargo.toml"; } # the first level of the file has it once
version=$(value_of version .)

"$charts/static.sh" "$folder/programs"
for part in operator broker; do
  "$charts/pack.sh" "$folder/$part.tar" "$registry/eventcast-$part:$version" "$folder/programs/eventcast-$part" \
    "title=Eventcast $part" "description=$(value_of description $part)" "version=$version" licenses=Apache-2.0 \
    source=https://github.com/eventcast/eventcast
done
