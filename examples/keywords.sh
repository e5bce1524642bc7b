#!/bin/sh
# Answers by keyword: the first line of FILE, `WORD<TAB>ANSWER`, whose word is in what was said. In rooms it answers only
# when the account is meant.
#
#   examples/keywords.sh answers.tsv
#
# It begins with what is said after its first start, leaves alone what is older than ten minutes, and is silent for half an
# hour in a chat in which the account's owner writes by hand. Each message is answered once, whenever it is killed.
set -eu
file=${1:?usage: keywords.sh FILE}
[ -r "$file" ]

exec wehelp events -f --cursor keywords --kind message.text --mentioned --takeover 30m --reply --on-failure skip \
  --exec -- awk -F '\t' 'index(tolower(ENVIRON["WEHELP_TEXT"]), tolower($1)) { print $2; exit }' "$file"
