#!/usr/bin/env bash
# Builds operator and broker as static programs into a folder, beside the certificate authorities to trust: what the
# images hold. charts/Dockerfile, `make images` and releases come here.
#
#   static.sh FOLDER [PACKAGE...]     default: eventcast-operator and eventcast-broker
#
# EVENTCAST_TARGET names another platform than this machine's, as Rust does: aarch64-unknown-linux-gnu. It needs the
# compilers of `tests/tools/install.sh cross`.
# EVENTCAST_AUDITABLE=1 writes the list of crates into each program (cargo-auditable), as releases do.
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
machine=$(rustc -vV | sed -n 's/^host: //p')
target=${EVENTCAST_TARGET:-$machine}
export RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static"
if [[ $target != "$machine" ]]; then
  rustup target add "$target" >&2
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
fi
# jemalloc keeps the page size of the machine that builds it, and ends the program on a kernel with larger pages. Kernels for
# arm64 have pages of 4, 16 or 64 KiB: docs/adr/0029-releases-by-scripts.md.
if [[ $target == aarch64-*-linux-* ]]; then export JEMALLOC_SYS_WITH_LG_PAGE=16; fi

subcommand=(build)
if [[ -n ${EVENTCAST_AUDITABLE:-} ]]; then
  PATH=$PATH:$PWD/.tools/bin
  subcommand=(auditable build)
fi
cargo "${subcommand[@]}" --locked --profile "$profile" --target "$target" "${@/#/--package=}"

built=${CARGO_TARGET_DIR:-target}/$target/${profile/#dev/debug}
suffix=
if [[ $target == *-windows-* ]]; then suffix=.exe; fi
if [[ $target == *-linux-* ]]; then install -m 644 /etc/ssl/certs/ca-certificates.crt "$folder/"; fi
for package in "$@"; do
  program=${package/%eventcast-cli/eventcast}$suffix # the package eventcast-cli makes the program eventcast
  install -m 755 "$built/$program" "$folder/$program"
done
