#!/usr/bin/env bash
# The tour of the README: a daemon, a played client, and the main jobs, in a folder of its own that goes when it ends.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${WEHELP_BIN:-target/debug}
PATH="$(cd "$bin" && pwd):$PATH"

home=$(mktemp -d)
export WEHELP_DATA_DIR="$home/data" WEHELP_SOCKET="$home/wehelpd.sock" WEHELP_LISTEN=127.0.0.1:0
export WEHELP_CONFIG="$home/config.toml" NO_COLOR=1
unset WEHELP_ACCOUNT
: > "$WEHELP_CONFIG"
cleanup() {
  kill $(jobs -p) 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$home"
}
trap cleanup EXIT
step() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }
quiet_wait() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; echo "gave up on: $*" >&2; exit 1; }

echo "A wehelpd of its own, in $home:"
wehelpd 2> "$home/wehelpd.log" &
quiet_wait wehelp status --json
echo "A played WeHelp client, so that nobody needs Windows:"
wehelp simulate --interval 0.2s 2> "$home/simulate.log" &
logged_in() { [ -n "$(wehelp events --kind login -n 1 --json)" ]; }
quiet_wait logged_in

step wehelp status --text
step wehelp send text filehelper "你好 😀" --wait --text
step wehelp queue show 1 --json
step wehelp room list --text
room=$(wehelp room list --json | head -n 1 | sed 's/.*"wxid":"\([^"]*\)".*/\1/')
step wehelp room members "$room" --text
step wehelp simulate event message.friend_request
request() { [ -n "$(wehelp friend requests --json)" ]; }
quiet_wait request
step wehelp friend requests --text
step wehelp events -n 5 --text
step wehelp events -n 2 --json
echo
echo "The tour is over; everything that it made is gone."
