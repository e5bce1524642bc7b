#!/bin/sh
# Writes the messages of a day, yesterday unless told, into DIR as CSV; for cron, every night. Needs jq.
#
#   5 0 * * *  /usr/local/bin/export.sh "$HOME/wechat"
#   examples/export.sh "$HOME/wechat" 2026-11-23
#
# The file appears when it is whole; an export that was killed is begun anew by the next call.
set -eu
dir=${1:?usage: export.sh DIR [DAY]}
day=$(date -d "${2-yesterday}" +%F)
next=$(date -d "$day + 1 day" +%F)
mkdir -p "$dir"
new=$(mktemp -d "$dir/.export.XXXXXX")
trap 'rm -rf "$new"' EXIT

wehelp events --since "$day" --until "$next" -n all --kind 'message.*' --json > "$new/json"
jq -r '[.time, .account, .chat, .from, .from_name // "", .kind, .text // ""] | @csv' "$new/json" > "$new/csv"
mv "$new/csv" "$dir/$day.csv"
