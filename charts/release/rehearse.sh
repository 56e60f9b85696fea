#!/usr/bin/env bash
# A release on this machine, published to a registry that ends with it: builds, packs, signs (with a key pair of the moment), pushes and
# verifies all that .github/workflows/release.yml does, by the same scripts. The files are in target/release-rehearsal/files.
#
#   rehearse.sh                    for the platforms of PLATFORMS; default: linux-amd64 linux-arm64 windows-amd64
#   rehearse.sh --dry-run          what needs no build: versions, notes, chart, plain manifests
#
# EVENTCAST_INSTALL=yes also installs it, from its registry, in the cluster of KUBECONFIG: one of this machine (`make cluster`).
# What cannot be done here is skipped and named. Everything is compiled for release, once for each platform: it takes a while.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

dry=
if [[ ${1:-} == --dry-run ]]; then dry=yes; elif (($#)); then fail "usage: rehearse.sh [--dry-run]"; fi
read -ra wanted <<<"${PLATFORMS:-linux-amd64 linux-arm64 windows-amd64}"

folder=${CARGO_TARGET_DIR:-$repository/target}/release-rehearsal
programs=$folder/programs files=$folder/files
# Programs stay: Cargo knows whether they are old.
rm -rf "$files"
mkdir -p "$files" "$folder/work"

EVENTCAST_STAGES=$folder/stages
export EVENTCAST_STAGES
: >"$EVENTCAST_STAGES"
skipped=()
registry_process=
finish() {
  local code=$?
  if [[ -n $registry_process ]]; then kill "$registry_process" 2>/dev/null || true; fi
  printf '\nStages (%d s in all):\n' "$SECONDS"
  cat "$EVENTCAST_STAGES"
  if ((${#skipped[@]})); then
    printf '\nSkipped:\n'
    printf '  %s\n' "${skipped[@]}"
  fi
  exit $code
}
trap finish EXIT
stage() { "$repository/tests/tools/stage.sh" "$@"; }

stage "versions and changelog" "$release/check.sh"
"$release/notes.sh" >"$folder/notes.md"
stage "install helm" "$repository/tests/tools/install.sh" helm
stage "install mdbook" "$repository/tests/tools/install.sh" mdbook
if [[ $version != *-* ]]; then stage "website" "$release/website.sh" "$folder/site"; else skipped+=("website: $version is a pre-release"); fi
stage "plain manifests" "$repository/charts/manifests.sh" "$files"

for platform in "${platforms[@]}"; do
  [[ " ${wanted[*]} " == *" $platform "* ]] || skipped+=("$platform: not in PLATFORMS")
done
if [[ -n $dry ]]; then
  stage "chart" "$(tool helm)" package "$repository/charts/eventcast" --destination "$files"
  skipped+=("everything that needs programs: --dry-run")
  exit
fi

stage "install what releases need" "$repository/tests/tools/install.sh" release nats-server
if ! stage "install compilers" "$repository/tests/tools/install.sh" cross; then skipped+=("some compilers: not to be had here"); fi
built=()
for platform in "${wanted[@]}"; do
  if [[ $platform == darwin-* ]]; then
    skipped+=("$platform: needs a Mac; the workflow builds it on one")
  elif stage "programs for $platform" "$release/programs.sh" "$programs" "$platform"; then
    built+=("$platform")
  else
    skipped+=("$platform: cannot be built here")
  fi
done
[[ " ${built[*]} " == *" $(this_platform) "* ]] || fail "the programs for this machine, $(this_platform), have not been built"
for platform in "$programs"/*; do
  [[ " ${built[*]} " == *" $(basename "$platform") "* ]] || rm -rf "$platform"
done

for platform in "${built[@]}"; do
  if [[ $platform != linux-* ]]; then continue; fi
  code=0
  stage "run the broker for $platform" "$release/run.sh" "$programs" "$platform" || code=$?
  case $code in
    0) ;;
    2) skipped+=("running programs for $platform: no qemu-user here") ;;
    *) exit $code ;;
  esac
done

stage "archives" "$release/archives.sh" "$programs" "$files"
stage "bills of materials" "$release/sboms.sh" "$programs" "$files"

touch "$folder/registry.log"
"$(tool crane)" registry serve --address 127.0.0.1:0 >"$folder/registry.log" 2>&1 &
registry_process=$!
until port=$(sed -n 's/.*serving on port //p' "$folder/registry.log") && [[ -n $port ]]; do
  kill -0 "$registry_process" 2>/dev/null || fail "the registry has ended: $(<"$folder/registry.log")"
  sleep 0.1
done

key=$folder/work/cosign
rm -f "$key".*
export COSIGN_PASSWORD='' EVENTCAST_SIGNING_KEY=$key.key
"$(tool cosign)" generate-key-pair --output-key-prefix "$key" 2>/dev/null
stage "publish and sign" "$release/publish.sh" "localhost:$port/eventcast" "$programs" "$files"
install=()
if [[ -n ${EVENTCAST_INSTALL:-} ]]; then install=(--install); fi
stage "verify" "$release/verify.sh" "${install[@]}" "localhost:$port/eventcast" "$files"

printf '\nFiles, in %s:\n' "$files"
find "$files" -type f -printf '%s %f\n' | sort -k 2 | awk '{ printf "  %9d KiB  %s\n", ($1 + 1023) / 1024, $2 }'
