#!/usr/bin/env bash
# Runs an example until Ctrl-C: a broker in dev mode with a NATS of its own, and an application beside it.
#
#   run.sh COMMAND...      from the folder of the example
#
# PORT is the port of the application (8081). EVENTCAST_* are the options of `eventcast-broker dev`; events are in .data/.
# EVENTCAST_BROKER names a broker that is already built; BESIDE is the command of a second program of the application. Both are started
# again when they die, as Kubernetes would do.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

export PORT=${PORT:-8081}
export EVENTCAST_LISTEN=${EVENTCAST_LISTEN:-127.0.0.1:8080}
export EVENTCAST_DATA_DIR=${EVENTCAST_DATA_DIR:-$PWD/.data}
# Only pages of the application may read the channel.
export EVENTCAST_ALLOWED_ORIGIN=${EVENTCAST_ALLOWED_ORIGIN:-http://127.0.0.1:$PORT}
export EVENTS_URL=http://$EVENTCAST_LISTEN/channels/default/demo/events

"$root/tests/tools/install.sh" nats-server
EVENTCAST_NATS_SERVER=$("$root/tests/tools/install.sh" path nats-server)
export EVENTCAST_NATS_SERVER
if [[ -z ${EVENTCAST_BROKER:-} ]]; then
  cargo build --manifest-path "$root/Cargo.toml" -p eventcast-broker
  EVENTCAST_BROKER=${CARGO_TARGET_DIR:-$root/target}/debug/eventcast-broker
fi

mkdir -p "$EVENTCAST_DATA_DIR"
log=$EVENTCAST_DATA_DIR/broker.log
app='' beside='' broker=''
is_running() { [[ -n $1 ]] && kill -0 "$1" 2>/dev/null; }
stop() {
  trap - EXIT
  local pid
  for pid in $app $beside $broker; do kill "$pid" 2>/dev/null || true; done
  wait
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start_broker() {
  : >"$log"
  "$EVENTCAST_BROKER" dev >"$log" 2>&1 &
  broker=$!
  until grep -q 'Press Ctrl-C' "$log"; do
    if ! is_running "$broker"; then
      cat "$log" >&2
      exit 1
    fi
    sleep 0.1
  done
}

start_broker
# dev takes another port if 4222 is in use
NATS_URL=$(grep -o 'nats://[^,]*' "$log" | head -1)
export NATS_URL
start_beside() {
  [[ -n ${BESIDE:-} ]] || return 0
  # shellcheck disable=SC2086 # words of a command
  $BESIDE &
  beside=$!
}

start_beside
"$@" &
app=$!
until (: >"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; do
  if ! is_running "$app"; then wait "$app"; fi
  sleep 0.1
done
printf '\n  %-15s http://127.0.0.1:%s/\n  broker          http://%s/ (its log: %s)\n\nPress Ctrl-C to stop.\n' \
  "$(basename "$PWD")" "$PORT" "$EVENTCAST_LISTEN" "$log"

while is_running "$app"; do
  sleep 0.2 &
  wait $! # unlike a sleep in the foreground, a signal ends this at once
  if is_running "$app" && ! is_running "$broker"; then start_broker; fi
  if is_running "$app" && [[ -n $beside ]] && ! is_running "$beside"; then
    sleep 0.5 # it may die at once again
    start_beside
  fi
done
wait "$app"
