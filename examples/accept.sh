#!/bin/sh
# Accepts friend requests whose greeting holds the right word, one by one, and greets back.
#
#   examples/accept.sh "hello from the fair" "Nice to meet you!"
#
# It begins with the requests that come after its first start; those that come while it is down are accepted later. A kill
# at any moment accepts and greets nobody twice: both go under a key made of the event's number.
set -eu
word=${1:?usage: accept.sh WORD [GREETING]} greeting=${2-}

exec wehelp events -f --cursor accept --kind message.friend_request --retries 3 --on-failure skip \
  --exec sh -euc '
    case $WEHELP_TEXT in *"$1"*) ;; *) exit 0 ;; esac
    wehelp friend accept "$WEHELP_SEQ" --key "accept-$WEHELP_SEQ" --wait=1m
    [ -z "$2" ] || wehelp send text "$WEHELP_FROM" "$2" --key "greet-$WEHELP_SEQ"
  ' accept "$word" "$greeting"
