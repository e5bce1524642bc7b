#!/bin/sh
# Sends the pictures of a folder that the PC sees too (the daemon's settings map it: `[files.map]`), each once; for cron.
#
#   * * * * *  /usr/local/bin/pictures.sh /srv/wx/new 123@chatroom
#
# What was queued is noted in DIR/.queued by its checksum. A kill between queueing and noting sends nothing twice: the key
# is the checksum, too. A picture stays where it is, for the client fetches it later.
set -eu
dir=${1:?usage: pictures.sh DIR WHOM} whom=${2:?usage: pictures.sh DIR WHOM}
touch "$dir/.queued"

for picture in "$dir"/*.jpg "$dir"/*.jpeg "$dir"/*.png "$dir"/*.gif; do
  [ -f "$picture" ] || continue
  sum=$(sha256sum "$picture" | cut -c 1-32)
  ! grep -q "^$sum " "$dir/.queued" || continue
  wehelp send image "$whom" "$picture" --key "picture-$sum"
  printf '%s %s\n' "$sum" "${picture##*/}" >> "$dir/.queued"
done
