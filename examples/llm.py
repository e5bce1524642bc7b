#!/usr/bin/env python3
"""Lets a language model answer when the account is meant: in private, and in rooms when it is called with @ or quoted.

    LLM_URL=https://api.example.org/v1/chat/completions LLM_KEY=... LLM_MODEL=... examples/llm.py

Any service that speaks OpenAI's chat completions will do. The model is told the last messages of the chat, and who said
them. What people say is data for it, never an order to this program: the model has no tools here, and nothing that it says
is run.

It begins with what is said after its first start, leaves alone what is older than ten minutes, and is silent for half an
hour in a chat in which the account's owner writes by hand, also while the model thinks. Each message is answered once,
whenever it is killed: the reply goes under a key made of the event's number.
"""

import json
import os
import subprocess
import sys
import urllib.request

RULES = "You answer for the owner of a WeChat account, in the language you are spoken to, in at most a few sentences."
HISTORY = 20
KINDS = "message.text,message.app"


def follow():
    options = ["-f", "--cursor", "llm", "--kind", KINDS, "--mentioned", "--max-age", "10m", "--takeover", "30m"]
    options += ["--jobs", "4", "--retries", "2", "--on-failure", "skip", "--exec-timeout", "2m", "--reply"]
    os.execvp("wehelp", ["wehelp", "events", *options, "--exec", "--", sys.executable, __file__, "answer"])


def history(event):
    """The last messages of the chat, the one that is to be answered among them."""
    last = ["-n", str(HISTORY), "--until", f"#{event['seq']}", "--kind", KINDS]
    chat = ["--chat", event["chat"], "-a", event["account"]]
    told = subprocess.run(["wehelp", "events", *last, *chat], stdout=subprocess.PIPE, check=True).stdout
    return [json.loads(line) for line in told.splitlines()]


def said(event):
    if event["self"]:
        return {"role": "assistant", "content": event["text"] or ""}
    return {"role": "user", "content": f"{event['from_name'] or event['from']}: {event['text'] or ''}"}


def answer():
    event = json.load(sys.stdin)
    messages = [{"role": "system", "content": RULES}, *map(said, history(event))]
    body = json.dumps({"model": os.environ.get("LLM_MODEL", ""), "messages": messages}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('LLM_KEY', '')}"}
    with urllib.request.urlopen(urllib.request.Request(os.environ["LLM_URL"], body, headers), timeout=90) as reply:
        print(json.load(reply)["choices"][0]["message"]["content"].strip())


if __name__ == "__main__":
    if sys.argv[1:] == ["answer"]:
        answer()
    else:
        follow()
