# shellcheck shell=bash disable=SC2154 # tools is that of install.sh
# Compilers for the other platforms of a release, and qemu-user, which runs programs for arm64 here. Sourced by install.sh.

missing_cross_packages() {
  if [[ $(uname -m) != aarch64 ]]; then
    has aarch64-linux-gnu-gcc || echo gcc-aarch64-linux-gnu
    [[ -f /usr/aarch64-linux-gnu/lib/libc.a ]] || echo libc6-dev-arm64-cross
  fi
  has x86_64-w64-mingw32-gcc || echo gcc-mingw-w64-x86-64
  has zip || echo zip
}

have_qemu() { [[ $(uname -m) == aarch64 ]] || find_program qemu-aarch64-static >/dev/null; }

have_cross() { [[ -z $(missing_cross_packages) ]] && have_qemu; }

install_cross() {
  local packages
  mapfile -t packages < <(missing_cross_packages)
  if ((${#packages[@]})); then apt_install "${packages[@]}"; fi
  if ! have_qemu; then from_package qemu-user-static usr/bin/qemu-aarch64-static; fi
}
