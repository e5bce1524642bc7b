#!/bin/sh
# Writes to every friend by name: {} in TEXT is what you call them. Official accounts and the file helper get nothing. Needs
# jq.
#
#   examples/broadcast.sh newyear "Happy new year, {}!"
#
# Called again with the same NAME within a day it goes on where it was killed, and writes to nobody twice.
set -eu
name=${1:?usage: broadcast.sh NAME TEXT} text=${2:?usage: broadcast.sh NAME TEXT}

friends=$(wehelp friend list --wait=1m)
printf '%s\n' "$friends" | jq -c --arg text "$text" --arg name "$name" '
    select((.wxid | test("^(gh_|filehelper$|weixin$|fmessage$)")) | not)
    | (.remark // .nick // "") as $called
    | {wxid, text: ($text | split("{}") | join($called)), key: "broadcast-\($name)-\(.wxid)"}' |
  wehelp send text --from - --expires 12h
