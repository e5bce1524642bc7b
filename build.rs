//! Tells the version with the commit that it was built from: from `WEHELP_COMMIT`, which packagers set, else from git;
//! outside a checkout of this very repository there is none, and the version stands alone. And how the binaries are linked.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    manual()?;
    println!("cargo::rerun-if-env-changed=WEHELP_COMMIT");
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("OS") == "linux"
        && target("ENV") == "gnu"
        && let Some(folder) = of_unwinder()
    {
        println!("cargo::rustc-link-search=native={}", folder.display());
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let given = std::env::var("WEHELP_COMMIT").ok().map(|commit| commit.trim().to_owned());
    let commit = match given {
        Some(commit) => Some(commit).filter(|commit| !commit.is_empty()),
        None => of_git(),
    };
    match commit {
        Some(commit) => println!("cargo::rustc-env=WEHELP_VERSION={version} ({commit})"),
        None => println!("cargo::rustc-env=WEHELP_VERSION={version}"),
    }
    Ok(())
}

/// Lists the pages of the manual, to be built in. A source without them builds as well.
fn manual() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=man");
    let mut pages: Vec<(String, String)> = Vec::new();
    for entry in std::fs::read_dir("man").into_iter().flatten() {
        let file = entry?.file_name().to_string_lossy().into_owned();
        if let Some((name, section)) = file.rsplit_once('.')
            && name.starts_with("wehelp")
        {
            pages.push((section.to_owned(), name.to_owned()));
        }
    }
    pages.sort();
    let mut list = "pub(super) const PAGES: &[(&str, &str)] = &[\n".to_owned();
    for (section, name) in pages {
        let file = format!("{name}.{section}");
        list += &format!("    ({file:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/man/{file}\"))),\n");
    }
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    std::fs::write(out.join("pages.rs"), list + "];\n")
}

/// Where the C compiler has its unwinder to be linked in, if it has one: as a shared library, finding and loading it
/// takes a tenth of a short command's time. Without it rustc links the shared one.
fn of_unwinder() -> Option<PathBuf> {
    let linker = std::env::var_os("RUSTC_LINKER");
    if linker.is_none() && std::env::var_os("HOST") != std::env::var_os("TARGET") {
        return None;
    }
    let linker = linker.unwrap_or_else(|| "cc".into());
    let out = Command::new(linker).arg("-print-file-name=libgcc_eh.a").output().ok()?;
    // A compiler that does not find it says the name alone.
    let path = PathBuf::from(String::from_utf8(out.stdout).ok()?.trim());
    let found = out.status.success() && path.is_absolute() && path.is_file();
    path.parent().filter(|_| found).map(Path::to_owned)
}

/// The commit that is checked out here, in short.
fn of_git() -> Option<String> {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?);
    // A source archive unpacked inside another repository is not of that repository.
    if Path::new(&git(&here, &["rev-parse", "--show-toplevel"])?).canonicalize().ok()? != here.canonicalize().ok()? {
        return None;
    }
    // HEAD names a branch, and the branch a commit; a worktree keeps the one for itself and shares the other.
    let head = git(&here, &["rev-parse", "--git-path", "HEAD"])?;
    let branch =
        git(&here, &["symbolic-ref", "-q", "HEAD"]).and_then(|name| git(&here, &["rev-parse", "--git-path", &name]));
    for path in [Some(head), branch].into_iter().flatten() {
        let path = here.join(path);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    git(&here, &["rev-parse", "--short=7", "HEAD"])
}

fn git(here: &Path, args: &[&str]) -> Option<String> {
    let out = Command::new("git").arg("-C").arg(here).args(args).output().ok().filter(|out| out.status.success())?;
    let text = String::from_utf8(out.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty() && !text.contains('\n'))
}
