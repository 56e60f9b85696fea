#!/usr/bin/env bash
# Pushes images and chart of a release to a registry and signs them, and everything else in the folder of the release.
#
#   publish.sh REGISTRY PROGRAMS FOLDER     as ghcr.io/eventcast, a folder of programs.sh, and that of archives.sh and sboms.sh
#
# Images are packed for each architecture that has been built, and pushed by digest; the version names the index over them. Their bills
# of materials are attested. FOLDER gets the chart, images.txt (a line NAME:VERSION@DIGEST for each image and the chart), SHA256SUMS and
# its signature. EVENTCAST_SIGNING_KEY: lib.sh.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

registry=${1:?usage: publish.sh REGISTRY PROGRAMS FOLDER}
programs=${2:?usage: publish.sh REGISTRY PROGRAMS FOLDER}
folder=$(cd "${3:?usage: publish.sh REGISTRY PROGRAMS FOLDER}" && pwd)
use_registry "$registry"

: >"$folder/images.txt"
sign() { # NAME:VERSION@DIGEST
  quietly "$cosign" sign --yes "${signing[@]}" "$1"
  echo "$1" >>"$folder/images.txt"
}

for part in operator broker; do
  name=$registry/eventcast-$part
  parts=()
  for architecture in amd64 arm64; do
    platform=linux-$architecture
    [[ -f $programs/$platform/eventcast-$part ]] || continue
    if [[ ! -f $work/$platform/operator.tar ]]; then
      EVENTCAST_IMAGE_REGISTRY=$registry "$repository/charts/images.sh" "$work/$platform" "$programs/$platform" >/dev/null
    fi
    layout=$work/$platform/$part
    mkdir "$layout"
    tar -xf "$layout.tar" -C "$layout"
    digest=$(grep -o 'sha256:[0-9a-f]*' "$layout/index.json" | head -n 1)
    quietly "$crane" push "$layout" "$name@$digest"
    quietly "$cosign" attest --yes "${signing[@]}" --type cyclonedx --predicate "$folder/eventcast-$part-$version-$platform.cdx.json" "$name@$digest"
    parts+=(--manifest "$name@$digest")
  done
  ((${#parts[@]})) || fail "no program eventcast-$part below $programs/linux-*: programs.sh builds them"
  quietly "$crane" index append "${parts[@]}" --tag "$name:$version"
  index=$(<"$work/out")
  sign "$name:$version@${index##*@}"
done

quietly "$helm" package "$repository/charts/eventcast" --destination "$folder"
quietly "$helm" push "$folder/eventcast-$version.tgz" "oci://$registry/charts" "${plain[@]}"
sign "$registry/charts/eventcast:$version@$(cat "$work/out" "$work/log" | sed -n 's/^Digest: //p')"

cd "$folder"
rm -f SHA256SUMS*
sha256sum -- * >"$work/sums"
mv "$work/sums" SHA256SUMS
quietly "$cosign" sign-blob --yes "${signing[@]}" --bundle SHA256SUMS.sigstore.json SHA256SUMS
cat images.txt
