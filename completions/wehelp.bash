# Completions of wehelp(1) for bash, version 4 or newer. They ask the running wehelpd for ids and names.
# Ids of rooms and names begin with or contain an @, at which bash would break the word.
COMP_WORDBREAKS=${COMP_WORDBREAKS//@}

_clap_complete_wehelp() {
    local IFS=$'\013'
    local _CLAP_COMPLETE_INDEX=${COMP_CWORD}
    local _CLAP_COMPLETE_COMP_TYPE=${COMP_TYPE}
    if compopt +o nospace 2> /dev/null; then
        local _CLAP_COMPLETE_SPACE=false
    else
        local _CLAP_COMPLETE_SPACE=true
    fi
    local words=("${COMP_WORDS[@]}")
    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
        words[COMP_CWORD]="$2"
    fi
    COMPREPLY=( $( \
        _CLAP_IFS="$IFS" \
        _CLAP_COMPLETE_INDEX="$_CLAP_COMPLETE_INDEX" \
        _CLAP_COMPLETE_COMP_TYPE="$_CLAP_COMPLETE_COMP_TYPE" \
        _CLAP_COMPLETE_SPACE="$_CLAP_COMPLETE_SPACE" \
        COMPLETE="bash" \
        "wehelp" -- "${words[@]}" \
    ) )
    if [[ $? != 0 ]]; then
        unset COMPREPLY
    elif [[ $_CLAP_COMPLETE_SPACE == false ]] && [[ "${COMPREPLY-}" =~ [=/:]$ ]]; then
        compopt -o nospace
    fi
    local i
    for i in "${!COMPREPLY[@]}"; do
        # Names may have blanks and more; bash inserts a candidate as it is.
        if [[ "${COMPREPLY[i]}" == *[[:space:]\'\"\\\$\`\&\;\|\(\)\<\>\*\?\!\#]* ]]; then
            printf -v 'COMPREPLY[i]' '%q' "${COMPREPLY[i]}"
        fi
    done
}
if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -o nospace -o bashdefault -o nosort -F _clap_complete_wehelp wehelp
else
    complete -o nospace -o bashdefault -F _clap_complete_wehelp wehelp
fi
