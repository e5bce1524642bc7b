#!/bin/sh
# Asks somebody in WeChat, and runs a command when they say yes. Needs jq.
#
#   examples/approve.sh deploy-7 wxid_boss "deploy v7?" ./deploy v7
#
# The question goes under the key NAME: killed and called again within a day it is not asked twice, and an answer that came
# meanwhile counts. Exit status 1: they said no; 6: they said nothing within an hour.
set -eu
usage="usage: approve.sh NAME WHOM QUESTION CMD..."
name=${1:?$usage} whom=${2:?$usage} question=${3:?$usage}
shift 3
: "${1:?$usage}"

answer=$(wehelp ask "$whom" "$question (yes/no)" --key "approve-$name" --timeout 1h --match '(?i)^\s*(yes|no)\b' --json)
case $(printf '%s' "$answer" | jq -r '.text | ascii_downcase | ltrimstr(" ")') in
  yes*) exec "$@" ;;
  *) exit 1 ;;
esac
