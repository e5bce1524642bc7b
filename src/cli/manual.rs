//! The pages of the manual, which are built in from `man/`.

mod pages {
    include!(concat!(env!("OUT_DIR"), "/pages.rs"));
}

/// A page of the manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ManPage {
    pub(super) name: &'static str,
    pub(super) section: char,
    /// The page as man and mandoc read it.
    pub(super) roff: &'static str,
}

/// All of them, in order of sections and names; none in a program that was built without them.
pub(super) fn all() -> impl Iterator<Item = ManPage> {
    let read = |(file, roff): &(&'static str, &'static str)| {
        let (name, section) = file.rsplit_once('.')?;
        Some(ManPage { name, section: section.chars().next()?, roff })
    };
    pages::PAGES.iter().filter_map(read)
}

/// What the pages are called on the command line, and what they are about.
pub(super) fn names() -> Vec<(String, String)> {
    let named = |page: ManPage| {
        let head = |line: &&str| line.trim_matches('"').ends_with("NAME") && line.starts_with(".SH");
        let about = page.roff.lines().skip_while(|line| !head(line)).nth(1);
        let about = about.and_then(|line| line.split_once(r" \- ")).map_or("", |(_, about)| about);
        (page.name.strip_prefix("wehelp-").unwrap_or(page.name).to_owned(), about.replace('\\', ""))
    };
    all().map(named).collect()
}
