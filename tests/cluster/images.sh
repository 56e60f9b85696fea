#!/usr/bin/env bash
# Packs the images that the one-node cluster needs beside Eventcast's own, from programs of tests/tools, into
# target/images/testbed: what keeps a pod's namespaces, its DNS, and NATS by the name that the chart asks for.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

archives=$target/images/testbed
programs=$archives/programs
mkdir -p "$programs"

pack() { # ARCHIVE IMAGE PROGRAM: unless the archive is newer than the program
  if [[ ! $archives/$1.tar -nt $3 ]]; then
    "$repository/charts/pack.sh" "$archives/$1.tar" "$2" "$3" >&2
  fi
}

if [[ ! $programs/pause -nt $here/pause.c ]]; then
  cc -O2 -static -s -Wall -Wextra -o "$programs/pause" "$here/pause.c"
fi
pack pause eventcast.test/pause:1 "$programs/pause"
pack coredns eventcast.test/coredns:1 "$(tool coredns)"

nats=$(tool nats-server)
version=$("$nats" --version)
pack nats "docker.io/library/nats:${version##*v}" "$nats"
