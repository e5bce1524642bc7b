//! The control door's look-ups in the directory: `/v1/contacts`, `/v1/rooms`, `/v1/requests`, `/v1/resolve`.

use crate::control::{DirectoryQuery, ResolveQuery};
use crate::daemon::doors::reply::{json, ndjson, ndjson_in_steps};
use crate::daemon::doors::{refusal, refusal::Refusal};
use crate::daemon::parts::Parts;
use crate::directory;
use crate::store::Store;
use warp::reply::Response;

/// Whom a name means.
pub(super) async fn resolve(parts: &Parts, mut query: ResolveQuery) -> Result<Response, Refusal> {
    // Where none is named, the names are those of the account that a command would be bound to.
    query.account = match query.account.as_deref() {
        None => parts.accounts.table().mean(None).ok().flatten(),
        // A command may be for an account that nothing has told of yet; it knows nobody.
        Some(name) => Some(parts.accounts.table().named(name)?),
    };
    Ok(ndjson(look(parts, move |store| directory::resolve(store, &query)).await?))
}

/// One person.
pub(super) async fn contact(parts: &Parts, wxid: &str, query: DirectoryQuery) -> Result<Response, Refusal> {
    let account = parts.accounts.told(query.account.as_deref()).await?;
    let id = wxid.to_owned();
    let found = look(parts, move |store| directory::contact(store, account.as_deref(), &id)).await?;
    found.map(|contact| json(&contact)).ok_or_else(|| {
        Refusal::new(404, "not-found", format!("no event has told of `{wxid}`; `wehelp friend list` asks the client"))
    })
}

/// Persons.
pub(super) async fn contacts(parts: &Parts, query: DirectoryQuery) -> Result<Response, Refusal> {
    let query = of_one(parts, query).await?;
    Ok(ndjson_in_steps(look(parts, move |store| directory::contacts(store, &query)).await?))
}

/// Rooms.
pub(super) async fn rooms(parts: &Parts, query: DirectoryQuery) -> Result<Response, Refusal> {
    let query = of_one(parts, query).await?;
    Ok(ndjson_in_steps(look(parts, move |store| directory::rooms(store, &query)).await?))
}

/// Who is in a room.
pub(super) async fn members(parts: &Parts, room: &str, query: DirectoryQuery) -> Result<Response, Refusal> {
    let (query, room) = (of_one(parts, query).await?, room.to_owned());
    Ok(ndjson_in_steps(look(parts, move |store| directory::members(store, &room, &query)).await?))
}

/// Open friend requests: they are told with whose they are, and are accepted as that account.
pub(super) async fn requests(parts: &Parts, mut query: DirectoryQuery) -> Result<Response, Refusal> {
    query.account = parts.accounts.told(query.account.as_deref()).await?;
    Ok(ndjson(look(parts, move |store| directory::requests(store, &query)).await?))
}

/// What is asked of the directory is about the account that a command would be bound to.
async fn of_one(parts: &Parts, mut query: DirectoryQuery) -> Result<DirectoryQuery, Refusal> {
    query.account = match query.account.as_deref() {
        None => parts.accounts.table().mean(None)?,
        named => parts.accounts.told(named).await?,
    };
    Ok(query)
}

async fn look<T: Send + 'static>(
    parts: &Parts,
    find: impl FnOnce(&Store) -> Result<T, crate::store::Error> + Send + 'static,
) -> Result<T, Refusal> {
    let store = parts.store.clone();
    refusal::look(move || find(&store)).await
}
