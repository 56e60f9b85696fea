#!/usr/bin/env bash
# Verifies a release as its users can: checksums, signatures, bills of materials, archives, images, chart. Prints a line for each check.
#
#   verify.sh REGISTRY FOLDER                as publish.sh had them; FOLDER: the files of the release
#   verify.sh --install REGISTRY FOLDER      also installs it in the cluster of KUBECONFIG, whose nodes reach the registry, waits for a
#                                            channel, and removes it
#
# EVENTCAST_SIGNING_KEY: lib.sh. With KUBECONFIG also whether that cluster accepts the chart.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

install=
if [[ ${1:-} == --install ]]; then
  install=yes
  : "${KUBECONFIG:?--install needs a cluster}"
  shift
fi
registry=${1:?usage: verify.sh [--install] REGISTRY FOLDER}
folder=$(cd "${2:?usage: verify.sh [--install] REGISTRY FOLDER}" && pwd)
use_registry "$registry"
cd "$folder"

passed() { printf '  ok       %s\n' "$*"; }
skipped() { printf '  skipped  %s\n' "$*"; }

# Runs a program for its version: that of the release, or it is the wrong program.
says_version() { # PLATFORM PROGRAM WHAT
  local said code=0
  said=$(run_program "$1" "$2" --version) || code=$?
  case $code in
    0) ;;
    2)
      skipped "$3 for $1: nothing here can run it"
      return
      ;;
    *) fail "$3 for $1 does not run (exit code $code)" ;;
  esac
  [[ $said == *" $version" ]] || fail "$3 for $1 says $said"
  passed "$3 for $1 says: $said"
}

quietly sha256sum --check --strict SHA256SUMS
passed "$(wc -l <SHA256SUMS) files have the checksums of SHA256SUMS"
quietly "$cosign" verify-blob "${verifying[@]}" --bundle SHA256SUMS.sigstore.json SHA256SUMS
passed "SHA256SUMS is signed"
for file in *; do
  [[ $file == SHA256SUMS* ]] || grep -qF "  $file" SHA256SUMS || fail "$file is not in SHA256SUMS"
done

for platform in "${platforms[@]}"; do
  archive=$(find . -name "eventcast-$version-$platform.*" ! -name '*.json')
  if [[ -z $archive ]]; then
    skipped "no archive for $platform: it has not been built"
    continue
  fi
  mkdir -p "$work/$platform"
  if [[ $archive == *.zip ]]; then python3 -m zipfile -e "$archive" "$work/$platform"; else tar -xzf "$archive" -C "$work/$platform"; fi
  for file in LICENSE completions/eventcast.bash man/eventcast-sub.1; do
    [[ -s $work/$platform/$file ]] || fail "$archive has no $file"
  done
  grep -qF "sha256: $(sha256sum "$archive" | cut -d ' ' -f 1)" eventcast.yaml || fail "eventcast.yaml has another checksum for $archive"
  if [[ $platform == linux-* ]]; then
    says_version "$platform" "$work/$platform/eventcast" "the command line"
  else
    skipped "the command line for $platform: nothing here can run it"
  fi
done
quietly "$(tool validate-krew-manifest)" -skip-install -manifest eventcast.yaml
for platform in linux-amd64 linux-arm64 windows-amd64; do
  archive=$(find "$PWD" -name "eventcast-$version-$platform.*" ! -name '*.json')
  [[ -n $archive ]] || continue
  quietly env KREW_ROOT="$work/krew-$platform" KREW_OS="${platform%-*}" KREW_ARCH="${platform#*-}" \
    "$(tool krew)" install --manifest eventcast.yaml --archive "$archive"
  [[ -n $(find "$work/krew-$platform/bin" -name 'kubectl-eventcast*') ]] || fail "krew has not installed $archive"
  passed "krew installs kubectl-eventcast for $platform"
done

for part in operator broker; do
  image=$(grep "/eventcast-$part:" images.txt)
  digest=${image##*@}
  name=$registry/eventcast-$part
  [[ $image == "$name:$version@"* ]] || fail "images.txt has $image instead of $name:$version"
  [[ $("$crane" digest "$name:$version") == "$digest" ]] || fail "$name:$version is not $digest"
  quietly "$cosign" verify "${verifying[@]}" "$name@$digest"
  passed "$name:$version is signed"
  for architecture in amd64 arm64; do
    platform=linux-$architecture
    if ! "$crane" manifest "$name@$digest" | grep -q "\"architecture\":\"$architecture\""; then
      [[ ! -f eventcast-$version-$platform.tar.gz ]] || fail "$name has no image for $platform"
      skipped "no image of the $part for $platform: it has not been built"
      continue
    fi
    root=$work/$part-$architecture
    mkdir -p "$root"
    "$crane" export --platform "linux/$architecture" "$name@$digest" - | tar -x -C "$root"
    says_version "$platform" "$root/eventcast-$part" "the image of the $part"
    one=$("$crane" digest --platform "linux/$architecture" "$name@$digest")
    quietly "$cosign" verify-attestation "${verifying[@]}" --type cyclonedx "$name@$one"
    python3 "$release/crates.py" "$work/out" "eventcast-$part" "$version" tokio rustls kube >"$work/crates"
    passed "$(<"$work/crates") in the attested bill of materials of the $part for $platform"
  done
done

chart=$(grep '/charts/eventcast:' images.txt)
quietly "$cosign" verify "${verifying[@]}" "$chart"
passed "the chart is signed"
quietly "$helm" pull "oci://$registry/charts/eventcast" --version "$version" --destination "$work" "${plain[@]}"
cmp -s "$work/eventcast-$version.tgz" "eventcast-$version.tgz" || fail "the chart of the registry is another one"
options=("oci://$registry/charts/eventcast" --version "$version" --namespace eventcast-system --set "image.registry=${registry%%/*}"
  --set "brokers.image.registry=${registry%%/*}" "${plain[@]}")
quietly "$helm" template eventcast "${options[@]}" --skip-tests --kube-version 1.30.0
for part in operator broker; do
  grep -q "\"\?$registry/eventcast-$part:$version\"\?\$" "$work/out" || fail "the chart does not ask for $registry/eventcast-$part:$version"
done
passed "helm renders the chart of the registry, with the images of this version"
if [[ -n $install ]]; then
  kubectl=$(tool kubectl)
  quietly "$helm" install eventcast "${options[@]}" --create-namespace --wait --timeout 3m
  quietly "$kubectl" create namespace eventcast-release
  quietly "$kubectl" apply --namespace eventcast-release --filename "$repository/charts/eventcast/examples/minimal.yaml"
  quietly "$kubectl" wait --namespace eventcast-release --for=condition=Ready evch/demo --timeout=3m
  running=$("$kubectl" get pods --all-namespaces -o jsonpath='{.items[*].spec.containers[*].image}' | tr ' ' '\n' | sort -u)
  for part in operator broker; do grep -qx "$registry/eventcast-$part:$version" <<<"$running" || fail "no $part of $registry runs: $running"; done
  quietly "$kubectl" delete namespace eventcast-release
  quietly "$helm" uninstall eventcast --namespace eventcast-system --wait
  passed "the chart and the images of the registry serve a channel in a cluster"
elif [[ -n ${KUBECONFIG:-} ]]; then
  quietly "$helm" install eventcast "${options[@]}" --create-namespace --dry-run=server
  passed "the cluster of KUBECONFIG accepts the chart"
else
  skipped "a real cluster: KUBECONFIG names none"
fi

for file in install.yaml install-namespaced.yaml; do
  [[ $(grep -cE "ghcr.io/eventcast/eventcast-(operator|broker):${version//./\\.}\"?\$" "$file") == 2 ]] || fail "$file does not have the images of $version"
done
for file in crds.yaml kustomization.yaml eventchannel.schema.json brokerpool.schema.json; do [[ -s $file ]] || fail "no $file"; done
passed "plain manifests have the images of this version"
