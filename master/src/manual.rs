//! `haraka -h NAME`: shows a document in the pager (CLI-04).

use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// Shows the first document of this name; false if there is none.
pub fn show(name: &str, install_dir: Option<&Path>) -> io::Result<bool> {
    let program = std::env::current_exe()?;
    let Some(file) = places(name, install_dir, &program)
        .into_iter()
        .find(|place| place.is_file())
    else {
        return Ok(false);
    };
    let pager = std::env::var("PAGER").unwrap_or_default();
    let mut words = pager.split_ascii_whitespace();
    let mut command = Command::new(words.next().unwrap_or("less"));
    match command.args(words).arg(&file).status() {
        // A small machine may have no pager, and still an operator who wants to read.
        Err(e) if e.kind() == io::ErrorKind::NotFound && pager.trim().is_empty() => {
            io::copy(&mut File::open(&file)?, &mut io::stdout())?;
        }
        Err(e) => return Err(e),
        Ok(_) => {}
    }
    Ok(true)
}

/// Where a document may be, the install directory's own first.
fn places(name: &str, install_dir: Option<&Path>, program: &Path) -> Vec<PathBuf> {
    let plain = |c: Component<'_>| matches!(c, Component::Normal(_));
    if !Path::new(name).components().all(plain) {
        return Vec::new();
    }
    let prefix = program.parent().and_then(Path::parent);
    let shared = prefix.map(|p| p.join("share/haraka"));
    let docs = [install_dir, shared.as_deref()].into_iter().flatten();
    let mut places: Vec<PathBuf> = docs
        .map(|base| base.join("docs"))
        .flat_map(|docs| {
            [
                docs.join(format!("{name}.md")),
                docs.join(format!("plugins/{name}.md")),
            ]
        })
        .collect();
    places.extend(
        install_dir.map(|d| d.join(format!("node_modules/haraka-plugin-{name}/README.md"))),
    );
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers CLI-04
    #[test]
    fn own_documents_come_before_shared_ones() {
        let found = places(
            "queue/lmtp",
            Some(Path::new("/h")),
            Path::new("/usr/bin/haraka"),
        );
        let found: Vec<_> = found.iter().map(|p| p.display().to_string()).collect();
        assert_eq!(
            found,
            [
                "/h/docs/queue/lmtp.md",
                "/h/docs/plugins/queue/lmtp.md",
                "/usr/share/haraka/docs/queue/lmtp.md",
                "/usr/share/haraka/docs/plugins/queue/lmtp.md",
                "/h/node_modules/haraka-plugin-queue/lmtp/README.md",
            ]
        );
    }

    #[test]
    fn a_name_that_leads_elsewhere_has_no_document() {
        for name in ["../../etc/passwd", "/etc/passwd", "a/../b"] {
            assert!(places(name, Some(Path::new("/h")), Path::new("/usr/bin/haraka")).is_empty());
        }
    }
}
