//! Workers that die, and what becomes of their places and files.

use nix::sys::signal::Signal::{SIGHUP, SIGKILL, SIGUSR2};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::server::{Install, sockets, wait_for};
use crate::two;

// covers PRC-04
pub fn a_dead_worker_is_replaced_and_its_files_adopted() {
    let server = two();
    let before = server.frames();
    let victim = &before[0];
    kill(Pid::from_raw(victim.pid), SIGKILL).unwrap();
    let after = wait_for("adoption", || {
        Some(server.frames()).filter(|f| f.len() == 3)
    });
    let adopter = &after[2];
    assert_eq!(adopter.slot, victim.slot);
    assert_ne!(adopter.incarnation, victim.incarnation);
    let entry = format!("(\"{}\", {})", victim.incarnation, victim.slot);
    assert!(adopter.text.contains(&entry), "{}", adopter.text);
    server.log_has(&format!(
        "worker {} killed by signal SIGKILL",
        victim.slot + 1
    ));
    server.answered_by(server.addr(0), &server.children());
}

/// Two workers are in one place for a while, and one of them owns the queue.
pub fn a_worker_that_asks_for_a_successor_ends_when_that_serves() {
    let install = Install::new("listen=127.0.0.1:0\nnodes=1\n");
    install.write("script", "weary");
    let server = install.start();
    let old = server.children();
    server.install.write("script", "mute");
    server.signal(SIGHUP);
    server.log_has("worker 1 asks to be replaced");
    wait_for("successor", || (server.children().len() == 2).then_some(()));
    // One that does not come up is no successor, and the next is started.
    server.install.write("script", "");
    let mute: Vec<i32> = server.children().difference(&old).copied().collect();
    kill(Pid::from_raw(mute[0]), SIGKILL).unwrap();
    server.frame_reaches("Drain { deadline_ms: 30000 }", &old);
    let both = server.children();
    assert!(both.len() == 2 && both.is_superset(&old), "{both:?}");
    assert_eq!(server.frames().len(), 1);
    server.install.write("release", "");
    let owned = wait_for("owner", || Some(server.frames()).filter(|f| f.len() == 2));
    let now = server.children();
    assert!(now.is_disjoint(&old) && now.len() == 1, "{now:?}");
    assert!(now.contains(&owned[1].pid));
    let entry = format!("(\"{}\", 0)", owned[0].incarnation);
    assert!(owned[1].text.contains(&entry), "{}", owned[1].text);
}

/// Clients come back to any worker, also to one that was born later.
pub fn all_workers_have_the_same_keys_for_tickets() {
    let server = two();
    let keys = |count: usize| {
        let known = wait_for("keys", || {
            let text = std::fs::read_to_string(server.install.path("ticket_keys")).ok()?;
            let lines = text.lines().filter_map(|line| line.split_once(": "));
            let keys: Vec<String> = lines.map(|(_, keys)| keys.to_owned()).collect();
            Some(keys).filter(|keys| keys.len() == count)
        });
        assert!(known.iter().all(|keys| *keys == known[0]), "{known:?}");
        known[0].clone()
    };
    let first = keys(2);
    assert!(first.len() > 16, "{first}");
    kill(Pid::from_raw(server.frames()[0].pid), SIGKILL).unwrap();
    assert_eq!(keys(3), first);
    server.install.write("release", "");
    server.signal(SIGUSR2);
    assert_eq!(keys(5), first);
}

// covers PRC-18, PB-45
pub fn a_worker_killed_after_a_restart_is_replaced() {
    let server = two();
    server.install.write("release", "");
    server.signal(SIGUSR2);
    let owned = wait_for("owners", || Some(server.frames()).filter(|f| f.len() == 4));
    kill(Pid::from_raw(owned[2].pid), SIGKILL).unwrap();
    let owned = wait_for("first replacement", || {
        Some(server.frames()).filter(|f| f.len() == 5)
    });
    kill(Pid::from_raw(owned[4].pid), SIGKILL).unwrap();
    wait_for("second replacement", || {
        Some(server.frames()).filter(|f| f.len() == 6)
    });
    assert_eq!(server.children().len(), 2);
}

// covers PB-45
pub fn an_old_worker_that_dies_during_a_restart_is_replaced() {
    let server = two();
    let old = server.frames();
    server.install.write("script", "mute");
    server.signal(SIGUSR2);
    wait_for("new workers", || {
        let mute = |pid: &i32| server.install.path(&format!("mute.{pid}")).exists();
        (server.children().iter().filter(|pid| mute(pid)).count() == 2).then_some(())
    });
    server.install.write("script", "");
    kill(Pid::from_raw(old[0].pid), SIGKILL).unwrap();
    let owned = wait_for("replacement", || {
        Some(server.frames()).filter(|f| f.len() == 3)
    });
    assert_eq!(owned[2].slot, old[0].slot);
    assert_eq!(server.children().len(), 4);
}

// covers PB-25, PB-46
pub fn files_of_a_restart_that_failed_are_taken_over_once_its_workers_have_gone() {
    const NOBODY: &str = "4294967295";
    let server = two();
    let old = server.frames();
    // The other new one is mute.
    let first = old.iter().find(|f| f.slot == 0).unwrap();
    let living = server.children();
    server.install.write("script", "half");
    server.signal(SIGUSR2);
    let mute = |pid: &i32| server.install.path(&format!("mute.{pid}")).exists();
    let new = wait_for("new workers", || {
        let new: Vec<i32> = server.children().difference(&living).copied().collect();
        (new.len() == 2 && new.iter().any(mute)).then_some(new)
    });
    server.install.write("script", "");
    server.install.write("release", "");
    // The new ones accept mail, and keep it while they live.
    kill(Pid::from_raw(first.pid), SIGKILL).unwrap();
    let owned = wait_for("replacement", || {
        Some(server.frames()).filter(|f| f.len() == 3)
    });
    assert_eq!(
        owned[2].text.matches(NOBODY).count(),
        2,
        "{}",
        owned[2].text
    );
    let ready = *new.iter().find(|pid| !mute(pid)).unwrap();
    let serving = "worker 1 listening on ";
    wait_for("three that have served in the first place", || {
        (server.log().matches(serving).count() == 3).then_some(())
    });
    kill(Pid::from_raw(ready), SIGKILL).unwrap();
    server.log_has("graceful restart failed");
    let owned = wait_for("successor", || {
        Some(server.frames()).filter(|f| f.len() == 4)
    });
    assert_eq!(owned[3].slot, owned[2].slot);
    assert_eq!(
        owned[3].text.matches(", 0)").count(),
        4,
        "{}",
        owned[3].text
    );
}

// covers PB-41, PB-47
pub fn a_worker_that_ends_with_success_is_replaced_ever_slower() {
    let server = two();
    server.install.write("script", "quit");
    kill(Pid::from_raw(server.frames()[0].pid), SIGKILL).unwrap();
    server.log_has("exited with error code: 0");
    server.log_has("is started again in 250 ms");
    server.log_has("is started again in 500 ms");
    server.install.write("script", "");
    wait_for("a worker that stays", || {
        Some(server.frames()).filter(|f| f.len() == 3)
    });
    server.answered_by(server.addr(0), &server.children());
}

pub fn a_file_that_ends_two_workers_is_set_aside() {
    let name = "1700000000000_1700000000000_0_11_aB3dEf_1_mx.example";
    let install = Install::new("listen=127.0.0.1:0\nnodes=1\n");
    install.write("script", "poison");
    std::fs::create_dir(install.path("queue")).unwrap();
    install.write(&format!("queue/{name}"), "poison");
    let server = install.start();
    server.log_has(&format!("{name} has ended two workers and is set aside"));
    wait_for("a worker that stays", || {
        Some(server.frames()).filter(|f| f.len() >= 3)
    });
    assert!(server.install.path(&format!("queue/error.{name}")).exists());
    assert!(!server.install.path(&format!("queue/{name}")).exists());
}

pub fn a_worker_has_no_descriptor_of_another() {
    let server = two();
    let before = server.frames();
    // A replacement is forked from a master that has the channels of all others.
    kill(Pid::from_raw(before[0].pid), SIGKILL).unwrap();
    wait_for("replacement", || {
        Some(server.frames()).filter(|f| f.len() == 3)
    });
    let workers: Vec<i32> = server.children().into_iter().collect();
    let (a, b) = (sockets(workers[0]), sockets(workers[1]));
    assert!(a.is_disjoint(&b), "{a:?} {b:?}");
    // One channel, one listener.
    assert_eq!((a.len(), b.len()), (2, 2));
    let masters = sockets(server.pid());
    assert_eq!(a.intersection(&masters).count(), 1, "the listener only");
}
