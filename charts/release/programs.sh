#!/usr/bin/env bash
# Builds the programs of a platform as a release has them, each with the list of its crates, into a folder of the platform's name.
#
#   programs.sh FOLDER PLATFORM...     operator, broker and command line for Linux; the command line alone for others
#
# Needs `tests/tools/install.sh cargo-auditable`; for another platform than this machine's, `install.sh cross`; for macOS, a Mac.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

folder=${1:?usage: programs.sh FOLDER PLATFORM...}
shift
for platform in "$@"; do
  packages=(eventcast-cli)
  if [[ $platform == linux-* ]]; then packages+=(eventcast-operator eventcast-broker); fi
  target=$(target_of "$platform")
  EVENTCAST_TARGET=$target EVENTCAST_AUDITABLE=1 "$repository/charts/static.sh" "$folder/$platform" "${packages[@]}"
done
