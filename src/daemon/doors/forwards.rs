//! The control door's `/v1/forwards…`: targets listed, made, changed, tried.

use crate::control::{CursorSet, Forward};
use crate::daemon::doors::refusal::Refusal;
use crate::daemon::doors::reply::{json, ndjson, object};
use crate::daemon::forwards::Forwards;
use crate::seq::Seq;
use serde::Deserialize;
use warp::http::{Method, StatusCode};
use warp::reply::{Reply, Response};

/// Answers a request of the control door.
pub(super) async fn answer(
    forwards: &Forwards,
    method: &Method,
    parts: &[&str],
    body: &[u8],
) -> Result<Response, Refusal> {
    #[derive(Deserialize)]
    struct Resend {
        seq: Seq,
    }
    match (method, parts) {
        (&Method::GET, []) => Ok(ndjson(forwards.targets.statuses()?)),
        (&Method::GET, [name]) => Ok(json(&forwards.one(name)?)),
        (&Method::PUT, [name]) => Ok(json(&forwards.set(name, object(body, "a forward")?).await?)),
        (&Method::DELETE, [name]) => {
            forwards.remove(name).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        (&Method::POST, [name, verb]) => {
            let shown: Forward = match *verb {
                "pause" => forwards.pause(name).await?,
                "resume" => forwards.resume(name).await?,
                "skip" => forwards.skip(name).await?,
                "set" => {
                    forwards.one(name)?;
                    let CursorSet { to } = object(body, "a JSON object with a moment as `to`")?;
                    forwards.place(name, &to).await?
                }
                "test" => forwards.deliver(name, None).await?,
                "resend" => {
                    forwards.one(name)?;
                    let Resend { seq } = object(body, "a JSON object with the event's number as `seq`")?;
                    forwards.deliver(name, Some(seq)).await?
                }
                _ => {
                    forwards.one(name)?;
                    return Err(no_such_path());
                }
            };
            Ok(json(&shown))
        }
        _ => Err(no_such_path()),
    }
}

fn no_such_path() -> Refusal {
    Refusal::new(404, "no-such-path", "the control door has no such path; see wehelp-control(7)")
}
