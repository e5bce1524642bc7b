#!/bin/sh
# Tells somebody who comes into a room and who leaves it. Needs jq.
#
#   examples/members.sh 123@chatroom filehelper
#
# It begins with what happens after its first start; what happened while it was down is told later. Each notice is told
# once, whenever it is killed.
set -eu
room=${1:?usage: members.sh ROOM WHOM} whom=${2:?usage: members.sh ROOM WHOM}

exec wehelp events -f --cursor "members-$room" --chat "$room" --kind room.joined,room.left --retries 3 \
  --exec sh -euc '
    text=$(jq -r "
        def names: [.[] | .nick // .wxid] | join(\", \");
        \"\(.decoded.who | names) \(if .kind == \"room.joined\" then \"came\" else \"left\" end)\"
        + (if .decoded.by then \", by \([.decoded.by] | names)\" else \"\" end)
        + \" (\(.decoded.how)) in \(.nick // .chat)\"")
    wehelp send text "$1" "$text" --key "members-$WEHELP_SEQ"
  ' members "$whom"
