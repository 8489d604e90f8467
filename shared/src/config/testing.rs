//! An install directory for tests, removed at the end of each.

use std::path::PathBuf;

use super::dir::ConfigDir;

pub(crate) struct TestDir {
    install: PathBuf,
    dir: ConfigDir,
}

impl TestDir {
    pub(crate) fn new() -> TestDir {
        let name = format!("haraka-config-{}", uuid::Uuid::new_v4());
        let install = std::env::temp_dir().join(name);
        std::fs::create_dir_all(install.join("config")).unwrap();
        let dir = ConfigDir::open(&install).unwrap();
        TestDir { install, dir }
    }

    pub(crate) fn dir(&self) -> &ConfigDir {
        &self.dir
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.install.join("config").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        // What is left in the temporary directory does no harm.
        drop(std::fs::remove_dir_all(&self.install));
    }
}
