# What the scripts of a release share: its version, its platforms, and cosign. Sourced, not run.
# shellcheck shell=bash disable=SC2034,SC2154 # variables are used, and `work` is set, by the scripts that source this

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
release=$repository/charts/release
website=https://github.com/eventcast/eventcast

say() { echo "${0##*/}: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

# The first level of Cargo.toml has it once.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$repository/Cargo.toml")

tool() { "$repository/tests/tools/install.sh" path "$1"; }

# Runs a command; its output is in $work/out and $work/log, and shown if it fails.
quietly() { "$@" >"$work/out" 2>"$work/log" || fail "$* failed: $(cat "$work/out" "$work/log")"; }

# Those of the command line. Images are for Linux.
platforms=(linux-amd64 linux-arm64 darwin-amd64 darwin-arm64 windows-amd64)

target_of() { # PLATFORM: its name in Rust
  case $1 in
    linux-amd64) echo x86_64-unknown-linux-gnu ;;
    linux-arm64) echo aarch64-unknown-linux-gnu ;;
    darwin-amd64) echo x86_64-apple-darwin ;;
    darwin-arm64) echo aarch64-apple-darwin ;;
    windows-amd64) echo x86_64-pc-windows-gnu ;;
    *) fail "unknown platform $1: one of ${platforms[*]}" ;;
  esac
}

this_platform() {
  case $(uname -m) in
    x86_64) echo linux-amd64 ;;
    aarch64) echo linux-arm64 ;;
    *) fail "no release is for this machine" ;;
  esac
}

# Prints what a program of this platform prints. One for the other architecture runs under qemu-user; fails with 2 if there is none.
run_program() { # PLATFORM PROGRAM [ARGUMENT...]
  local platform=$1 emulator
  shift
  if [[ $platform == "$(this_platform)" ]]; then
    "$@"
  elif [[ $platform == linux-arm64 ]] && emulator=$(tool qemu-aarch64-static 2>/dev/null); then
    "$emulator" "$@"
  else
    return 2
  fi
}

# Sets `crane`, `cosign` and `helm`, their options, and `work`, a folder that is removed at the end.
use_registry() { # REGISTRY
  crane=$(tool crane) cosign=$(tool cosign) helm=$(tool helm)
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  cosign_options
  # The chart of a registry without TLS: one of this machine.
  plain=()
  if [[ $1 == localhost:* || $1 == 127.0.0.1:* ]]; then plain=(--plain-http); fi
}

# Sets `signing` and `verifying`, the options of cosign. EVENTCAST_SIGNING_KEY is a file of cosign, with its public half beside it; then
# nothing leaves this machine. Without it the identity of the workflow signs, and the public transparency log has the signatures.
cosign_options() {
  if [[ -n ${EVENTCAST_SIGNING_KEY:-} ]]; then
    "$cosign" signing-config create --out "$work/signing-config.json" # without any service
    signing=(--key "$EVENTCAST_SIGNING_KEY" --signing-config "$work/signing-config.json")
    verifying=(--key "${EVENTCAST_SIGNING_KEY%.key}.pub" --insecure-ignore-tlog)
  else
    signing=()
    verifying=(--certificate-identity "$website/.github/workflows/release.yml@refs/tags/v$version"
      --certificate-oidc-issuer https://token.actions.githubusercontent.com)
  fi
}
