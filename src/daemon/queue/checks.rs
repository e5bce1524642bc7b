//! What `POST /v1/commands` demands of a request before anything is queued (contract 3): the same for the CLI and for
//! any other program.

use crate::config::Files;
use crate::control::{self, Enqueue};
use crate::daemon::queue::{record::New, refused::Refused};
use crate::protocol::command::{self, Command, Fault, Wire};

/// The commands of a request, checked; paths of this machine turned into those of the PC. `is_called` tells whether
/// somebody has a name: for what may be a name without its `@`.
pub(crate) fn commands(
    request: &Enqueue,
    files: &Files,
    is_called: impl Fn(&str) -> bool,
) -> Result<Vec<New>, Refused> {
    if request.commands.is_empty() {
        return Err(Refused::Empty);
    }
    if request.commands.len() > control::ENQUEUE_MAX {
        return Err(Refused::TooMany);
    }
    if !request.keys.is_empty() && request.keys.len() != request.commands.len() {
        return Err(Refused::KeyMissing);
    }
    let mut new = Vec::with_capacity(request.commands.len());
    for (n, raw) in request.commands.iter().enumerate() {
        let bad = |message: String| {
            let which = if request.commands.len() > 1 { format!("command {}: ", n + 1) } else { String::new() };
            Refused::Command(format!("{which}{message}"))
        };
        let wire = Wire::from_json(raw.get()).map_err(|e| bad(e.to_string()))?;
        wire.check().map_err(|fault| bad(sentence(fault, &is_called)))?;
        let wire = if request.on_client { wire } else { with_path_of_the_pc(wire, files).map_err(bad)? };
        let key = request.keys.get(n).cloned();
        if key.as_ref().is_some_and(|k| k.is_empty() || k.len() > control::KEY_BYTES_MAX) {
            return Err(Refused::KeyLength);
        }
        new.push(New { wire, key });
    }
    Ok(new)
}

fn sentence(fault: &Fault, is_called: impl Fn(&str) -> bool) -> String {
    let name = match fault {
        Fault::Id(_, error) => error.as_name().map(str::trim).filter(|name| is_called(name)),
        _ => None,
    };
    match name {
        Some(name) => format!("{fault}; did you mean `@{name}`? GET /v1/resolve tells whose name it is"),
        None => fault.to_string(),
    }
}

/// A path of this machine means nothing on the PC, unless the settings say where the PC finds it.
fn with_path_of_the_pc(wire: Wire, files: &Files) -> Result<Wire, String> {
    let path = wire.command().and_then(Command::path).filter(|(_, path)| command::is_local_path(path));
    let Some((member, path)) = path else { return Ok(wire) };
    match files.on_the_pc(path) {
        Some(mapped) => wire.with_text(member, &mapped).map_err(|e| e.to_string()),
        None => Err(format!("`{member}`: {}", command::local_path(path))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn made(command: &Value, on_client: bool) -> Result<String, Refused> {
        let request = json!({"commands": [command], "on_client": on_client});
        let request: Enqueue = serde_json::from_str(&request.to_string()).unwrap();
        let files = Files { map: [("/srv/wx".to_owned(), r"\\nas\wx".to_owned())].into() };
        let new = commands(&request, &files, |name| name == "小王")?;
        Ok(new[0].wire.as_str().to_owned())
    }

    #[test]
    fn a_name_without_its_sign_is_told_when_it_is_known() {
        let send = |wxid: &str| json!({"api": "sendTextMessage", "wxid": wxid, "text": "x"});
        let known = made(&send("小王"), false).unwrap_err();
        assert!(matches!(&known, Refused::Command(why) if why.contains("`@小王`")), "{known}");
        let nobody = made(&send("小李"), false).unwrap_err();
        assert!(!nobody.to_string().contains("did you mean"), "{nobody}");
        assert!(made(&send("1@chatrom"), false).unwrap_err().to_string().contains("`1@chatroom`"));
    }

    #[test]
    fn a_path_of_this_machine_is_turned_into_one_of_the_pc_or_refused() {
        let image = |path: &str| json!({"api": "sendPicMessage", "code": 2, "wxid": "filehelper", "imgPath": path});
        let made_of = |path: &str| {
            let wire: Value = serde_json::from_str(&made(&image(path), false)?).unwrap();
            Ok::<_, Refused>(wire["imgPath"].as_str().unwrap().to_owned())
        };
        assert_eq!(made_of("/srv/wx/a b/图.png").unwrap(), r"\\nas\wx\a b\图.png");
        assert_eq!(made_of(r"C:\a.png").unwrap(), r"C:\a.png");
        assert_eq!(made_of("https://example.org/a.png").unwrap(), "https://example.org/a.png");
        for local in ["/tmp/a.png", "./a.png", "../a.png", "~/a.png", "/srv/wxx/a.png", "/srv/wx/../a.png"] {
            let refused = made_of(local).unwrap_err();
            assert!(matches!(&refused, Refused::Command(why) if why.contains("imgPath")), "{local}: {refused}");
            assert!(made(&image(local), true).unwrap().contains(local), "{local}");
        }
        let file = json!({"api": "sendFileMessage", "wxid": "filehelper", "filePath": "/tmp/a"});
        assert!(made(&file, false).is_err());
    }
}
