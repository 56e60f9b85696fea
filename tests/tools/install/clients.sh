# shellcheck shell=bash disable=SC2154 # root and tools are those of install.sh
# Browsers with the driver of their tests, the examples, and the clients in other languages. Sourced by install.sh.

clients=$root/tests/clients

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

have_npm_packages() { is_stamped "$clients/$1/node_modules/.stamp" "$clients/$1/package-lock.json"; }

install_npm_packages() {
  has npm || fail "npm is missing: install Node 20 or newer for tests/clients/$1"
  say "npm ci in tests/clients/$1"
  quietly npm ci --prefix "$clients/$1" --ignore-scripts --no-audit --no-fund --loglevel=error
  stamp "$clients/$1/node_modules/.stamp" "$clients/$1/package-lock.json"
}

have_node_clients() { have_npm_packages node; }
install_node_clients() { install_npm_packages node; }

# The applications of docs/examples whose `make run` installs something: it finds it installed.
examples=(dashboard jobs llm-tokens outbox)

have_examples() {
  local example
  for example in "${examples[@]}"; do make --no-print-directory -q -C "$root/docs/examples/$example" install || return 1; done
}

install_examples() {
  local example program job jobs=()
  for program in node npm go python3; do has "$program" || fail "$program is missing: docs/examples needs Node 20, Go 1.23 and Python 3.11"; done
  if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then apt_install python3-venv; fi
  for example in "${examples[@]}"; do
    say "what docs/examples/$example needs"
    quietly make --no-print-directory -C "$root/docs/examples/$example" install &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job"; done
}

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
