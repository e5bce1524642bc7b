//! `wehelp api`: the table of commands, and the form of events; it needs no daemon.

use crate::cli::ctx::Ctx;
use crate::cli::error::Error;
use crate::protocol::command::{APIS, Api};
use crate::protocol::event::Kind;
use crate::protocol::schema::{self, Openness};
use serde::Serialize;

/// Print the table of commands: verb, api, code, the event that answers, where it is specified.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wehelp api | jq -r 'select(.question) | .verb'
  wehelp api --schema > event.schema.json")]
pub(in crate::cli) struct Args {
    /// Print the JSON Schema (draft 2020-12) of an event instead, as `events` prints it
    ///
    /// It names every key, and what `decoded` holds, by kind. Later versions may add keys.
    #[arg(long)]
    schema: bool,
}

/// A row, as JSON.
#[derive(Debug, Serialize)]
struct Row {
    verb: &'static str,
    api: &'static str,
    code: Option<u32>,
    /// The events that answer it, the surest first.
    answers: Vec<Answer>,
    /// Whether it only asks: then its answer is waited for.
    question: bool,
    spec: &'static str,
}

#[derive(Debug, Serialize)]
struct Answer {
    r#type: i64,
    kind: &'static str,
}

pub(in crate::cli) fn run(ctx: &Ctx, Args { schema: is_schema }: Args) -> Result<(), Error> {
    if is_schema {
        let schema = schema::entry(Openness::Open);
        return ctx.out().print(&schema, |schema| serde_json::to_string_pretty(schema).unwrap_or_default());
    }
    let rows: Vec<Row> = APIS.iter().map(row).collect();
    ctx.out().table(&rows, &["command", "api", "code", "answered by", "spec"], |row| {
        let by = row.answers.iter().map(|a| format!("{} {}", a.r#type, a.kind)).collect::<Vec<_>>().join(", ");
        vec![
            row.verb.to_owned(),
            row.api.to_owned(),
            row.code.map(|code| code.to_string()).unwrap_or_default(),
            by,
            row.spec.to_owned(),
        ]
    })
}

fn row(api: &Api) -> Row {
    let answer = |number: &i64| Answer { r#type: *number, kind: Kind::of_type(*number).as_str() };
    Row {
        verb: api.verb,
        api: api.api,
        code: api.code,
        answers: api.answers.iter().map(answer).collect(),
        question: api.is_question(),
        spec: api.spec,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_the_kinds_of_the_events_that_answer() {
        let members = Api::find("getChatRoomUserLists").map(row).unwrap();
        assert_eq!(
            serde_json::to_string(&members).unwrap(),
            r##"{"verb":"room members","api":"getChatRoomUserLists","code":6,"answers":[{"type":77,"kind":"room.members"}],"question":true,"spec":"群操作 4 #getRoomMembers"}"##
        );
    }
}
