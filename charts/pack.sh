#!/usr/bin/env bash
# Packs a static program as a container image: no container daemon, no root, nothing fetched.
#
#   pack.sh [--files FOLDER] ARCHIVE IMAGE:TAG PROGRAM [LABEL=VALUE...]
#
# The image holds /PROGRAM, its entrypoint, and the certificate authorities of this machine; it runs as 65532. With FOLDER it also holds
# what is in there, such as the libraries of a program that is not static. Labels
# are those of org.opencontainers.image (title, description, version, licenses). The archive is an OCI layout and a
# Docker archive in one: `docker load`, `podman load`, `ctr images import`, `kind load image-archive`, `skopeo copy
# oci-archive:` and `docker-archive:` read it. The same program gives the same digest, which is printed.
set -euo pipefail

fail() {
  echo "pack.sh: $*" >&2
  exit 1
}
files=
if [[ ${1:-} == --files ]]; then
  files=${2:-}
  [[ -d $files ]] || fail "no folder at '$files'"
  shift 2
fi
(($# >= 3)) || fail "usage: pack.sh [--files FOLDER] ARCHIVE IMAGE:TAG PROGRAM [LABEL=VALUE...]"
archive=$1 image=$2 program=$3
shift 3
[[ $image == *[!:/]:*[!:/] ]] || fail "an image's name has a tag, as registry/name:tag: $image"
[[ -f $program ]] || fail "no program at $program: build it first"
interpreter=$(readelf --program-headers --wide "$program" | sed -n 's/.*program interpreter: \(.*\)]/\1/p')
if [[ -n $interpreter && ! (-n $files && -f $files$interpreter) ]]; then
  fail "$program is linked dynamically and would not start without its libraries: charts/static.sh builds static ones"
fi

authorities=/etc/ssl/certs/ca-certificates.crt
[[ -f $authorities ]] || fail "no $authorities: install ca-certificates"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
blobs=$work/oci/blobs/sha256
mkdir -p "$blobs"

# Architecture as OCI names it, by the machine in the program's header.
case $(od -An -tu2 -j18 -N2 "$program" | tr -d ' ') in
  62) architecture=amd64 ;;
  183) architecture=arm64 ;;
  *) fail "$program is neither for x86-64 nor for arm64" ;;
esac

quoted() { # as JSON
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}
joined() { # the arguments, with commas
  local IFS=,
  echo "$*"
}

# Nothing of the moment or of this machine's users may get in, or the digest would change.
reproducible=(--sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=ustar)

# Moves a file among the blobs; prints its descriptor.
blob() { # FILE MEDIA_TYPE [FURTHER_JSON]
  local digest size
  digest=$(sha256sum "$1" | cut -d ' ' -f 1)
  size=$(stat --format=%s "$1")
  mv "$1" "$blobs/$digest"
  printf '{"mediaType":"%s","digest":"sha256:%s","size":%s%s}' "$2" "$digest" "$size" "${3:-}"
}
digest_of() { grep -o 'sha256:[0-9a-f]*' <<<"$1" | head -n 1; }

name=$(basename "$program")
mkdir -p "$work/root/etc/ssl/certs"
install -m 755 "$program" "$work/root/$name"
install -m 644 "$authorities" "$work/root$authorities"
if [[ -n $files ]]; then cp -r "$files/." "$work/root/"; fi
find "$work/root" -type d -exec chmod 755 {} +
mapfile -t content < <(LC_ALL=C ls -A "$work/root")
tar -C "$work/root" "${reproducible[@]}" -cf "$work/layer" "${content[@]}"
uncompressed=sha256:$(sha256sum "$work/layer" | cut -d ' ' -f 1)
gzip -n -9 "$work/layer"
layer=$(blob "$work/layer.gz" application/vnd.oci.image.layer.v1.tar+gzip)

labels=()
for label in "$@"; do
  labels+=("$(quoted "org.opencontainers.image.${label%%=*}"):$(quoted "${label#*=}")")
done
printf '{"architecture":"%s","os":"linux","config":{"User":"65532","Entrypoint":[%s],"Labels":{%s}},"rootfs":{"type":"layers","diff_ids":["%s"]}}' \
  "$architecture" "$(quoted "/$name")" "$(joined "${labels[@]}")" "$uncompressed" >"$work/config"
config=$(blob "$work/config" application/vnd.oci.image.config.v1+json)

printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
  "$config" "$layer" >"$work/manifest"
names=$(printf ',"annotations":{"io.containerd.image.name":%s,"org.opencontainers.image.ref.name":%s}' \
  "$(quoted "$image")" "$(quoted "${image##*:}")")
manifest=$(blob "$work/manifest" application/vnd.oci.image.manifest.v1+json "$names")

printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}' \
  "$manifest" >"$work/oci/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$work/oci/oci-layout"
in_blobs() { digest_of "$1" | sed 's#sha256:\(.*\)#"blobs/sha256/\1"#'; }
printf '[{"Config":%s,"RepoTags":[%s],"Layers":[%s]}]' \
  "$(in_blobs "$config")" "$(quoted "$image")" "$(in_blobs "$layer")" >"$work/oci/manifest.json"

mkdir -p "$(dirname "$archive")"
# beside its place first: whoever looks sees the old archive or the new one
tar -C "$work/oci" "${reproducible[@]}" -cf "$archive.new" blobs index.json manifest.json oci-layout
mv "$archive.new" "$archive"
echo "$image@$(digest_of "$manifest") in $archive"
