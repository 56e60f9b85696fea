#!/usr/bin/env bash
# Starts the broker of a platform with a NATS of its own, publishes an event and subscribes to it with the command line of that platform.
# Programs for arm64 run under qemu-user elsewhere, also as on a kernel with pages of 64 KiB.
#
#   run.sh PROGRAMS PLATFORM     PROGRAMS: a folder of programs.sh; fails with 2 if nothing here can run the platform
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

programs=${1:?usage: run.sh PROGRAMS PLATFORM}/${2:?usage: run.sh PROGRAMS PLATFORM}
platform=$2
work=$(mktemp -d)
broker=
stop() {
  if [[ -n $broker ]]; then kill "$broker" 2>/dev/null && wait "$broker" || true; fi
  rm -rf "$work"
}
trap stop EXIT

address=127.0.0.1:$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export EVENTCAST_URL=http://$address
try() { # [OPTION OF QEMU...]
  local emulator=()
  if [[ $platform != "$(this_platform)" ]]; then emulator=("$(tool qemu-aarch64-static)" "$@"); fi
  EVENTCAST_NATS_SERVER=$(tool nats-server) "${emulator[@]}" "$programs/eventcast-broker" dev \
    --listen "$address" --admin 127.0.0.1:0 --data-dir "$work/data" >"$work/log" 2>&1 &
  broker=$!
  local deadline=$((SECONDS + 60))
  until "${emulator[@]}" "$programs/eventcast" pub default/demo -d "hello from $platform" >/dev/null 2>"$work/error"; do
    kill -0 "$broker" 2>/dev/null || fail "the broker for $platform has ended: $(tail -n 5 "$work/log")"
    ((SECONDS < deadline)) || fail "the broker for $platform takes no event: $(<"$work/error")"
    sleep 0.2
  done
  [[ $("${emulator[@]}" "$programs/eventcast" sub default/demo --from=earliest --count 1 2>"$work/error") == *"hello from $platform" ]] ||
    fail "the subscriber for $platform has not received the event"
  kill "$broker"
  wait "$broker" || true
  broker=
  rm -rf "$work/data"
}

run_program "$platform" "$programs/eventcast" --version >/dev/null || exit $?
try
echo "the broker for $platform stores and delivers an event"
if [[ $platform == linux-arm64 && $platform != "$(this_platform)" ]]; then
  try -p 65536
  echo "and so it does with pages of 64 KiB"
fi
