//! What /proc tells about the processes of one server: a family is recognised by an environment variable
//! that only it carries, so daemons and orphans of dead masters are found too.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Variable whose value marks all processes of one server.
pub const MARK: &str = "HARAKA_TEST_FAMILY";

/// All living processes (zombies are not) whose environment has the mark with this value, sorted.
pub fn family(mark: &str) -> Vec<i32> {
    let wanted = format!("{MARK}={mark}");
    let mut pids: Vec<i32> = all_pids()
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|all| all.split(|b| *b == 0).any(|one| one == wanted.as_bytes()))
        })
        .filter(|pid| stat_field(*pid, STATE).is_some_and(|state| state != "Z"))
        .collect();
    pids.sort_unstable();
    pids
}

/// Living direct children of a process, sorted.
pub fn children(parent: i32) -> Vec<i32> {
    let parent = parent.to_string();
    let mut pids: Vec<i32> = all_pids()
        .filter(|pid| stat_field(*pid, PARENT).as_deref() == Some(&parent))
        .filter(|pid| stat_field(*pid, STATE).is_some_and(|state| state != "Z"))
        .collect();
    pids.sort_unstable();
    pids
}

/// Whether a process exists and is not a zombie.
pub fn alive(pid: i32) -> bool {
    stat_field(pid, STATE).is_some_and(|state| state != "Z")
}

/// Sends a signal; a process that is gone already is no error.
pub fn send(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Whether a process has this socket open.
pub fn holds_socket(pid: i32, inode: u32) -> bool {
    let wanted = format!("socket:[{inode}]");
    let open = fs::read_dir(format!("/proc/{pid}/fd"));
    let mut open = open.into_iter().flatten().flatten();
    open.any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()))
}

/// CPU time of a process in seconds, user and system; zero when it is gone.
pub fn cpu_seconds(pid: i32) -> f64 {
    let field = |at| stat_field(pid, at).and_then(|text| text.parse::<f64>().ok());
    let ticks = field(USER_TIME).unwrap_or(0.0) + field(SYSTEM_TIME).unwrap_or(0.0);
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    ticks / per_second.ok().flatten().unwrap_or(100) as f64
}

/// Octets of memory that a process holds; zero when it is gone.
pub fn resident(pid: i32) -> f64 {
    status_field(pid, "VmRSS:").unwrap_or(0.0) * 1024.0
}

/// Of these octets those that are the process's own: which pages of files count depends on when one looks, and
/// on other processes.
pub fn anonymous(pid: i32) -> f64 {
    status_field(pid, "RssAnon:").unwrap_or(0.0) * 1024.0
}

/// Names of the threads of a process, sorted; none when it is gone.
pub fn threads(pid: i32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let mut names: Vec<String> = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .collect();
    names.sort_unstable();
    names
}

/// The number in a line of /proc/PID/status.
fn status_field(pid: i32, name: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

fn all_pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The policy by which the system schedules a process, as in sched(7).
pub fn policy(pid: i32) -> Option<i32> {
    stat_field(pid, POLICY)?.parse().ok()
}

/// A field of /proc/PID/stat counted after the name, which may itself hold spaces and brackets.
fn stat_field(pid: i32, at: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(at).map(str::to_owned)
}

const STATE: usize = 0;
const PARENT: usize = 1;
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;
const POLICY: usize = 38;
