#!/usr/bin/env bash
# Adds the documentation of this version to the website: a folder for each minor version, and a front page that leads to the newest.
# Pages of older versions say so (docs/versions.js).
#
#   website.sh SITE     a folder: that of the versions before, or a new one
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

site=${1:?usage: website.sh SITE}
[[ $version != *-* ]] || fail "$version is a pre-release: the website has the documentation of releases"
minor=${version%.*}
"$repository/tests/tools/book.sh" >/dev/null
mkdir -p "$site"
rm -rf "${site:?}/$minor"
cp -R "$repository/target/book" "$site/$minor"

newest=$(find "$site" -mindepth 1 -maxdepth 1 -type d -name '[0-9]*.[0-9]*' -printf '%f\n' | sort --version-sort | tail -n 1)
echo "$newest" >"$site/newest.txt"
cat >"$site/index.html" <<HTML
<!doctype html><html lang="en"><meta charset="utf-8"><title>Eventcast</title>
<meta http-equiv="refresh" content="0; url=$newest/"><a href="$newest/">Eventcast $newest</a></html>
HTML
touch "$site/.nojekyll" # files are served as they are
echo "$site/$minor/index.html, and the newest is $newest"
