//! `completions/`: clap's registration scripts, which run `wehelp` at each TAB, mended where a shell needs it.

use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};
use std::collections::BTreeMap;

fn registration(shell: &dyn EnvCompleter) -> String {
    let mut script = Vec::new();
    shell.write_registration("COMPLETE", "wehelp", "wehelp", "wehelp", &mut script).unwrap();
    String::from_utf8(script).unwrap().trim().to_owned() + "\n"
}

/// bash breaks words at `@`, and inserts candidates without quotes.
const BASH_HEAD: &str = "\
# Completions of wehelp(1) for bash, version 4 or newer. They ask the running wehelpd for ids and names.
# Ids of rooms and names begin with or contain an @, at which bash would break the word.
COMP_WORDBREAKS=${COMP_WORDBREAKS//@}

";

const BASH_QUOTES: &str = "    local i
    for i in \"${!COMPREPLY[@]}\"; do
        # Names may have blanks and more; bash inserts a candidate as it is.
        if [[ \"${COMPREPLY[i]}\" == *[[:space:]\\'\\\"\\\\\\$\\`\\&\\;\\|\\(\\)\\<\\>\\*\\?\\!\\#]* ]]; then
            printf -v 'COMPREPLY[i]' '%q' \"${COMPREPLY[i]}\"
        fi
    done
}
if [[ ";

#[test]
fn completions() {
    let bash = registration(&Bash);
    let (body, rest) = bash.split_once("}\nif [[ ").expect("the function's end");
    let bash = format!("{BASH_HEAD}{body}{BASH_QUOTES}{rest}");
    let fish = format!(
        "# Completions of wehelp(1) for fish. They ask the running wehelpd for ids and names.\n{}",
        registration(&Fish)
    );
    let zsh = registration(&Zsh);
    // Put into fpath the file is run as the function itself; sourced it registers it.
    let (head, rest) = zsh.split_once('\n').expect("the first line is #compdef");
    let (body, _) = rest.split_once("\ncompdef ").expect("the registration comes last");
    let zsh = format!(
        "{head}
# Completions of wehelp(1) for zsh. They ask the running wehelpd for ids and names. Put this file into a folder of
# fpath before compinit runs, or source it after.
{body}
if [[ \"${{funcstack[1]}}\" == _wehelp ]]; then
    _clap_dynamic_completer_wehelp \"$@\"
else
    compdef _clap_dynamic_completer_wehelp wehelp
fi
"
    );
    let files = [("wehelp.bash", bash), ("_wehelp", zsh), ("wehelp.fish", fish)];
    super::compare("completions", &BTreeMap::from(files.map(|(name, text)| (name.to_owned(), text))));
}
