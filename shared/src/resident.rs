//! Pages of the program's files that a process has mapped, but does not need any more.
//!
//! Reading a configuration and loading plugins runs much code once. The system maps it in pieces of 64 kB
//! around what runs and leaves it mapped, so that most of what a process at rest holds would be its own start.
//! What is let go of here stays in the system's file cache, from where it comes back with a minor fault
//! when it is wanted; without a mapping, the system can drop it first when memory is short.

/// Unmaps what is in memory of this process's read-only file mappings. To be called when a start, or a rush, is over.
///
/// It is a favour: where the system does not tell of its mappings, or refuses, nothing happens.
#[cfg(target_os = "linux")]
pub fn let_go_of_files() {
    let Ok(mappings) = std::fs::read_to_string("/proc/self/smaps") else {
        return;
    };
    for unchanged in unchanged_files(&mappings) {
        advise(&unchanged);
    }
}

/// As above, where mappings are not known.
#[cfg(not(target_os = "linux"))]
pub fn let_go_of_files() {}

#[cfg(target_os = "linux")]
fn advise(addresses: &std::ops::Range<usize>) {
    use nix::sys::mman::{MmapAdvise, madvise};

    let Some(at) = std::ptr::NonNull::new(
        std::ptr::with_exposed_provenance_mut::<std::ffi::c_void>(addresses.start),
    ) else {
        return;
    };
    // SAFETY: the mapping cannot be written to and has no page that differs from its file's, so whoever reads
    // it later, or runs code in it, finds the same octets there as before. That holds for each thread.
    #[allow(unsafe_code)]
    let _ = unsafe { madvise(at, addresses.len(), MmapAdvise::MADV_DONTNEED) };
    // It is refused for locked memory, say: then it stays, which is what was asked for.
}

/// The mappings of files, in the form of proc_pid_smaps(5), that cannot be written to and have no page of the
/// process's own: relocated pointers have such pages, and a program that is debugged.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn unchanged_files(mappings: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in mappings.lines() {
        if let Some(anonymous) = line.strip_prefix("Anonymous:") {
            let own = anonymous.trim() != "0 kB";
            found.extend(candidate.take().filter(|_| !own));
        } else if !line.starts_with(|c: char| c.is_ascii_uppercase()) {
            candidate = read_only_file(line);
        }
    }
    found
}

/// From `55d0c000-55d0f000 r-xp 00002000 fe:00 1234 /usr/sbin/haraka`.
fn read_only_file(line: &str) -> Option<std::ops::Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let access = fields.next()?;
    let inode = fields.nth(2)?;
    if !access.starts_with('r') || access.contains('w') || !access.ends_with('p') || inode == "0" {
        return None;
    }
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    (start < end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
5000-9000 r-xp 00002000 fe:00 77   /usr/sbin/haraka
Rss:                  16 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
9000-a000 r-xp 00006000 fe:00 77   /usr/sbin/haraka
Anonymous:             4 kB
a000-b000 r--p 00007000 fe:00 77   /usr/sbin/haraka
Anonymous:             0 kB
b000-c000 rw-p 00008000 fe:00 77   /usr/sbin/haraka
Anonymous:             0 kB
c000-d000 r--s 00000000 fe:00 78   /var/cache/shared
Anonymous:             0 kB
d000-e000 r-xp 00000000 00:00 0    [vdso]
Anonymous:             0 kB
e000-f000 ---p 00009000 fe:00 77   /usr/sbin/haraka
Anonymous:             0 kB
";

    #[test]
    fn only_mappings_that_are_as_their_files_are_let_go_of() {
        assert_eq!(unchanged_files(SMAPS), [0x5000..0x9000, 0xa000..0xb000]);
    }

    #[test]
    fn nonsense_is_no_mapping() {
        for text in [
            "",
            "x",
            "5000 r-xp",
            "9-5 r-xp 0 fe:00 7 /f\nAnonymous: 0 kB",
        ] {
            assert!(unchanged_files(text).is_empty(), "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn program_runs_on_with_less_in_memory() {
        let resident = || -> usize {
            let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let mut of_program = false;
            let exe = std::env::current_exe().unwrap();
            text.lines()
                .map(|line| {
                    if let Some(rss) = line.strip_prefix("Rss:") {
                        let kb = rss.trim().trim_end_matches(" kB");
                        return if of_program { kb.parse().unwrap() } else { 0 };
                    }
                    if !line.starts_with(|c: char| c.is_ascii_uppercase()) {
                        of_program = line.contains("r-xp") && line.ends_with(exe.to_str().unwrap());
                    }
                    0
                })
                .sum()
        };
        // Code that nothing needs later.
        regex::Regex::new(r"([0-9]+)[ ]+[a-f]{3,9}").unwrap();
        let before = resident();
        let_go_of_files();
        let after = resident();
        assert!(after < before, "{before} kB before, {after} kB after");
    }
}
