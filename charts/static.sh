#!/usr/bin/env bash
# Builds operator and broker as static programs into a folder, beside the certificate authorities to trust: what the
# images hold. charts/Dockerfile and `make images` both come here.
#
#   static.sh FOLDER [PACKAGE...]     default: eventcast-operator and eventcast-broker
#
# EVENTCAST_IMAGE_PROFILE names another profile of Cargo than `image`.
set -euo pipefail

folder=${1:?usage: static.sh FOLDER [PACKAGE...]}
shift
(($#)) || set -- eventcast-operator eventcast-broker
profile=${EVENTCAST_IMAGE_PROFILE:-image}

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# glibc, linked statically: it resolves names through /etc/hosts and DNS without loading anything since 2.34. The
# target is named although it is this machine's: else the flag would hold for build scripts and macros as well, and
# macros cannot be static.
target=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static"
cargo build --locked --profile "$profile" --target "$target" "${@/#/--package=}"

built=${CARGO_TARGET_DIR:-target}/$target/${profile/#dev/debug}
install -m 644 /etc/ssl/certs/ca-certificates.crt "$folder/"
for package in "$@"; do install -m 755 "$built/$package" "$folder/$package"; done
