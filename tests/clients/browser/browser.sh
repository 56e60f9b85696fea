#!/bin/sh
# Runs the browser $BROWSER_BINARY so that it dies with the process that started it, even if that one is killed.
if command -v setpriv >/dev/null; then
  exec setpriv --pdeathsig KILL "$BROWSER_BINARY" "$@"
fi
exec "$BROWSER_BINARY" "$@"
