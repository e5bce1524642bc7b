#!/bin/sh
# Shows every account on a terminal, anew every few seconds: whether its client polls, what waits, what was said. Needs jq.
#
#   examples/dashboard.sh [SECONDS]        # 0: once
#
# It only reads.
set -eu
every=${1:-5}

show() {
  status=$(wehelp status --json)
  said=$(wehelp events --since 1h -n all --kind 'message.*' | jq -r '.account // ""' | sort | uniq -c)
  printf '%s\n' "$status" | jq -r --arg said "$said" '
    ($said | split("\n") | map(capture("^ *(?<n>[0-9]+) (?<account>.+)$")) | map({(.account): .n}) | add // {}) as $said
    | "wehelpd \(.daemon.version)  events \(.events.last)  queue \(.queue.ready) ready, \(.queue.in_flight) in flight",
      (.accounts[] | [
        .nick // .account,
        (if .logged_in then "in" elif .logged_in == false then "OUT" else "?" end),
        (if .last_poll_s then "polled \(.last_poll_s) s ago" else "never polled" end),
        "\(.waiting) wait" + (if .held then ": \(.held.reason)" else "" end),
        "\($said[.account] // 0) messages in the last hour"
      ] | join("  "))'
}

while :; do
  now=$(show) || now="no answer from wehelpd"
  [ "$every" = 0 ] || printf '\033[H\033[2J'
  printf '%s\n' "$now"
  [ "$every" != 0 ] || exit 0
  sleep "$every"
done
