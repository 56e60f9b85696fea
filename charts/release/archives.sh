#!/usr/bin/env bash
# Packs the command line into archives, one for each platform that has been built, with its licence, completions and manual pages, and
# writes the manifest of Krew. The same programs give the same archives.
#
#   archives.sh PROGRAMS FOLDER [WEBSITE]     PROGRAMS: a folder of programs.sh; WEBSITE: where Krew fetches the archives
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

programs=${1:?usage: archives.sh PROGRAMS FOLDER [WEBSITE]}
folder=${2:?usage: archives.sh PROGRAMS FOLDER [WEBSITE]}
downloads=${3:-$website/releases/download}/v$version
mkdir -p "$folder"
programs=$(cd "$programs" && pwd) folder=$(cd "$folder" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# They are the same for all platforms.
mkdir -p "$work/completions" "$work/man"
here=$programs/$(this_platform)/eventcast
[[ -x $here ]] || fail "no program at $here: completions come from the program of this machine's platform"
for file in eventcast.bash _eventcast.zsh eventcast.fish _eventcast.powershell; do
  "$here" completion "${file##*.}" >"$work/completions/$file"
done
mv "$work/completions/_eventcast.zsh" "$work/completions/_eventcast" # as zsh looks for it
mv "$work/completions/_eventcast.powershell" "$work/completions/_eventcast.ps1"
"$here" man --directory "$work/man"
install -m 644 "$repository/LICENSE" "$work/LICENSE"

krew_platforms=''
archive() { # PLATFORM PROGRAM
  local name=eventcast-$version-$1 program sum files
  program=$(basename "$2")
  install -m 755 "$2" "$work/$program"
  files=("$program" LICENSE completions man)
  if [[ $1 == windows-* ]]; then
    name+=.zip
    rm -f "$folder/$name"
    (cd "$work" && find "${files[@]}" -exec touch --date=1980-01-01T00:00:00Z {} + && find "${files[@]}" -type f | LC_ALL=C sort | TZ=UTC zip -q -X -9 "$folder/$name" -@)
  else
    name+=.tar.gz
    tar -C "$work" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=ustar -cf - "${files[@]}" | gzip -n -9 >"$folder/$name"
  fi
  rm "$work/$program"
  sum=$(sha256sum "$folder/$name" | cut -d ' ' -f 1)
  krew_platforms+="
    - selector: {matchLabels: {os: ${1%-*}, arch: ${1#*-}}}
      uri: $downloads/$name
      sha256: $sum
      files: [{from: $program, to: .}, {from: LICENSE, to: .}]
      bin: $program"
}

for platform in "${platforms[@]}"; do
  for program in "$programs/$platform"/eventcast{,.exe}; do
    if [[ -f $program ]]; then archive "$platform" "$program"; fi
  done
done

sed -e '/^#/d' -e "s/@VERSION@/v$version/" "$release/krew.yaml" >"$folder/eventcast.yaml"
echo "  platforms:$krew_platforms" >>"$folder/eventcast.yaml"
