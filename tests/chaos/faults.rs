//! File calls that fail and a clock that steps, from outside of the daemon: `faults.c`, compiled here and loaded into it.

use crate::fixture::{DEADLINE, clean, run};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A kind of file calls; its bit is that of `enum call` in `faults.c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Write = 1,
    Sync = 2,
    Rename = 4,
    Open = 8,
    Truncate = 16,
    Unlink = 32,
}

/// Which calls fail, and how.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) calls: Vec<Call>,
    /// So many succeed first.
    pub(crate) after: u32,
    /// Then so many fail; `None`: all, until it is taken back.
    pub(crate) count: Option<u32>,
    pub(crate) error: rustix::io::Errno,
    /// A failing write writes half first.
    pub(crate) torn: bool,
}

/// The control file, and the library that reads it.
#[derive(Debug)]
pub(crate) struct Faults {
    file: File,
    control: PathBuf,
    library: PathBuf,
}

impl Faults {
    /// Compiles the library into `dir`; `None` where there is no C compiler, said aloud.
    pub(crate) fn prepare(dir: &Path) -> Option<Self> {
        let (library, control) = (dir.join("faults.so"), dir.join("faults"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chaos/faults.c");
        let probe = std::process::Command::new("cc").arg("--version").output();
        if !probe.is_ok_and(|probe| probe.status.success()) {
            crate::missing::tool("C compiler (cc), with which failing file calls and clock steps are put in");
            return None;
        }
        let mut compile = clean("cc", dir);
        compile.args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
        run(compile, None, DEADLINE * 3).exits(0);
        let file = File::options().read(true).write(true).create_new(true).open(&control).unwrap();
        file.set_len(64).unwrap();
        Some(Self { file, control, library })
    }

    /// What the daemon's environment needs, for faults below `dir`.
    pub(crate) fn environment(&self, dir: &Path) -> [(&'static str, String); 3] {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        [("LD_PRELOAD", text(&self.library)), ("WEHELP_FAULTS", text(&self.control)), ("WEHELP_FAULTS_DIR", text(dir))]
    }

    fn put(&self, field: u64, value: i64) {
        self.file.write_all_at(&value.to_ne_bytes(), field * 8).unwrap();
    }

    fn get(&self, field: u64) -> i64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, field * 8).unwrap();
        i64::from_ne_bytes(bytes)
    }

    /// From now on calls fail.
    pub(crate) fn arm(&self, fault: &Fault) {
        self.disarm();
        self.put(2, fault.after.into());
        self.put(3, fault.count.map_or(-1, i64::from));
        self.put(4, fault.error.raw_os_error().into());
        self.put(5, fault.torn.into());
        self.put(6, 0);
        self.put(7, 0);
        self.put(1, fault.calls.iter().map(|call| *call as i64).sum());
    }

    /// Nothing fails any more; how many calls did.
    pub(crate) fn disarm(&self) -> i64 {
        self.put(1, 0);
        self.get(7)
    }

    /// The daemon's wall clock is so far from the true one.
    pub(crate) fn set_clock(&self, ms: i64) {
        self.put(0, ms);
    }
}
