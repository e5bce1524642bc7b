# Completions of wehelp(1) for fish. They ask the running wehelpd for ids and names.
complete --keep-order --exclusive --command wehelp --arguments "(COMPLETE=fish wehelp -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
