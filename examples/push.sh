#!/bin/sh
# Says the same in many rooms, whose ids stand on standard input, one a line. Needs jq.
#
#   wehelp room list --cached | jq -r .wxid | examples/push.sh release-7 "Version 7 is out"
#
# Called again with the same NAME within a day, whether it was killed, lost its daemon or told of lines that failed, it
# sends only what was not queued yet. Everything else of the account goes first, and pacing keeps it from being blocked.
set -eu
name=${1:?usage: push.sh NAME TEXT < ROOMS} text=${2:?usage: push.sh NAME TEXT < ROOMS}

jq -Rc --arg text "$text" 'select(. != "") | {wxid: ., $text}' |
  wehelp send text --from - --key-prefix "push-$name" --expires 12h
