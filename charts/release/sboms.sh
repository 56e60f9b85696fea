#!/usr/bin/env bash
# Writes the crates of every program as a bill of materials (CycloneDX), out of the program itself: PROGRAM-VERSION-PLATFORM.cdx.json.
#
#   sboms.sh PROGRAMS FOLDER     PROGRAMS: a folder of programs.sh
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

programs=${1:?usage: sboms.sh PROGRAMS FOLDER}
folder=${2:?usage: sboms.sh PROGRAMS FOLDER}
reader=$(tool auditable2cdx)
mkdir -p "$folder"
for program in "$programs"/*/eventcast*; do
  "$reader" "$program" >"$folder/$(basename "$program" .exe)-$version-$(basename "$(dirname "$program")").cdx.json"
done
