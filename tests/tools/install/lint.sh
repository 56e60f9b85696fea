# shellcheck shell=bash disable=SC2154 # root and tools are those of install.sh
# What `make lint` needs beside Rust. Sourced by install.sh.

cargo_deny=cargo-deny@0.20.2

have_cargo_deny() { find_program cargo-deny >/dev/null; }

install_cargo_deny() {
  has cargo || fail "cargo is missing: install Rust"
  say "building $cargo_deny (some minutes)"
  quietly cargo install --locked --root "$tools" "$cargo_deny"
}
