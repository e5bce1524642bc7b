//! `docs/store.md` against a real folder: it names every file that a store makes, and how each begins.

use super::*;

/// The files below a folder, as paths from there.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn the_page_on_the_store_names_every_file_and_how_it_begins() {
    let page = include_str!("../../../docs/store.md");
    let begins = |bytes: &[u8], what: &str| {
        if let Some(magic) = bytes.get(..8).filter(|magic| magic.starts_with(b"WEHELP")) {
            let magic = format!("\"{}\\n\"", String::from_utf8_lossy(&magic[..7]));
            assert!(page.contains(&magic), "the page does not say that {what} begins with {magic}");
        }
    };
    let dir = fast();
    let store = open(&dir);
    append_many(&store, 0..1000, 600);
    put(&store, "key", b"value");
    let (lsn, seq) = (store.0.shared.durable.load(Ordering::SeqCst), store.tail().borrow().0 + 1);
    map::snapshot::write(dir.path(), store.0.shared.map().tree(), lsn, || Ok(()), || Ok((lsn, seq))).unwrap();
    let mut backup = Vec::new();
    store.backup(&[], &mut backup).unwrap();
    begins(&backup, "a backup");
    eventually("a segment has an index", || files_of(dir.path(), "idx") > 0);
    store.close().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for path in files(dir.path()) {
        let bytes = std::fs::read(&path).unwrap();
        let name = path.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned();
        begins(&bytes, &name);
        if let Some(own) = name.strip_prefix("sled/") {
            let known = ["conf", "db", "snap."].iter().any(|known| own.starts_with(known));
            assert!(known, "the page does not name sled's `{own}`");
            continue;
        }
        let name = name.replace(|c: char| c.is_ascii_digit(), "");
        let name = name.replace("journal/.", "journal/LSN.");
        assert!(page.contains(&format!("| `{name}` |")), "the page has no row for `{name}`");
        if name.ends_with(".log") && bytes.len() > 68 {
            assert_eq!(bytes[64..68], [0xf7, 0x57, 0x4a, 0x1d]);
        }
        seen.insert(name);
    }
    let all = ["checkpoint", "journal/LSN.idx", "journal/LSN.log", "journal/LSN.map", "version"];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
    assert!(page.contains("f7 57 4a 1d | crc 4"));
    assert!(page.contains(&format!("the number of the format, {VERSION}, as text")));
}
