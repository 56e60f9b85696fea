# shellcheck shell=bash disable=SC2154 # root and tools are those of install.sh
# What checks the descriptions of the API (tests/api): a virtual environment of Python and the JSON Schema of AsyncAPI. Sourced by install.sh.

api=$root/tests/api

have_api_tools() {
  [[ -x $tools/api/bin/schemathesis ]] && is_stamped "$tools/api/.stamp" "$api/requirements.txt" &&
    is_stamped "$api/node_modules/.stamp" "$api/package-lock.json"
}

install_api_tools() {
  has python3 || fail "python3 is missing: install Python 3.11 or newer for tests/api"
  has npm || fail "npm is missing: install Node 20 or newer for tests/api"
  if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then apt_install python3-venv; fi
  say "a virtual environment and npm ci for tests/api"
  quietly python3 -m venv --clear "$tools/api"
  quietly "$tools/api/bin/python" -m pip install --disable-pip-version-check -r "$api/requirements.txt"
  quietly npm ci --prefix "$api" --ignore-scripts --no-audit --no-fund --loglevel=error
  stamp "$tools/api/.stamp" "$api/requirements.txt"
  stamp "$api/node_modules/.stamp" "$api/package-lock.json"
}
