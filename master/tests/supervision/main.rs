//! The master with scripted workers: every row of `docs/signals.md`, starts that fail, restarts
//! that fail, deaths. Each test is a real server in a process of its own.
//!
//! This program is its own server: called with `serve` first it is `haraka` with scripted workers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod deaths;
mod scripted;
mod server;
mod signals;
mod starts;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Instant;

use server::{Install, Owned, Server};

const TWO: &str = "listen=127.0.0.1:0\nnodes=2\n";

type Test = (&'static str, fn());

macro_rules! tests {
    ($($file:ident::$name:ident),* $(,)?) => { const TESTS: &[Test] = &[$((stringify!($name), $file::$name)),*]; };
}

tests![
    starts::all_workers_own_the_queue_once_all_are_ready,
    signals::hup_flushes_in_every_worker,
    signals::term_stops_workers_at_once_and_cleanly,
    signals::int_drains_if_graceful_shutdown_is_set,
    signals::a_drain_that_takes_too_long_becomes_a_stop,
    signals::a_second_term_kills,
    signals::usr1_reopens_the_log_of_a_daemon_and_its_workers,
    signals::usr1_without_a_log_file_changes_nothing,
    signals::usr2_replaces_workers_and_the_queue_follows_when_the_old_are_gone,
    signals::usr2_with_a_bad_configuration_changes_nothing,
    signals::usr2_with_workers_that_fail_rolls_back,
    signals::usr2_again_during_a_restart_is_ignored,
    signals::usr2_takes_on_more_workers_and_listeners,
    deaths::all_workers_have_the_same_keys_for_tickets,
    deaths::a_dead_worker_is_replaced_and_its_files_adopted,
    deaths::a_worker_that_asks_for_a_successor_ends_when_that_serves,
    deaths::a_worker_killed_after_a_restart_is_replaced,
    deaths::files_of_a_restart_that_failed_are_taken_over_once_its_workers_have_gone,
    deaths::an_old_worker_that_dies_during_a_restart_is_replaced,
    deaths::a_worker_that_ends_with_success_is_replaced_ever_slower,
    deaths::a_file_that_ends_two_workers_is_set_aside,
    deaths::a_worker_has_no_descriptor_of_another,
    starts::a_worker_that_fails_at_start_fails_the_start,
    starts::a_start_that_cannot_succeed_says_why,
    starts::a_start_ends_where_init_master_says_no,
    starts::init_master_runs_once_before_the_first_worker_and_leaves_nothing_behind,
    signals::signals_to_the_whole_group_leave_workers_to_the_master,
    starts::one_process_serves_without_workers,
    starts::one_process_fails_with_a_message,
    starts::a_daemon_detaches_when_it_serves_and_holds_its_pid_file,
    starts::a_daemon_that_does_not_come_up_tells_the_terminal,
    starts::workers_give_up_root,
    starts::one_process_gives_up_root,
    signals::tools_talk_to_the_running_server,
    signals::silent_and_hostile_clients_do_not_block_the_control_socket,
    starts::several_listeners_of_every_kind_serve,
];

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap();
    let rest: Vec<_> = args.collect();
    if rest.first().is_some_and(|a| a == "serve") {
        let args = std::iter::once(program).chain(rest.into_iter().skip(1));
        return haraka_master::cli::run(args, scripted::SCRIPTED);
    }
    let filters: Vec<String> = rest
        .iter()
        .filter_map(|a| a.to_str())
        .filter(|a| !a.starts_with('-'))
        .map(str::to_owned)
        .collect();
    if rest.iter().any(|a| a == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let chosen =
        |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str()));
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| chosen(name)) {
        let began = Instant::now();
        let passed = std::panic::catch_unwind(test).is_ok();
        failed += u32::from(!passed);
        let outcome = if passed { "ok" } else { "FAILED" };
        println!(
            "test {name} ... {outcome} ({} ms)",
            began.elapsed().as_millis()
        );
    }
    ExitCode::from(u8::from(failed > 0))
}

fn pids(owned: &[Owned]) -> BTreeSet<i32> {
    owned.iter().map(|o| o.pid).collect()
}

fn two() -> Server {
    Install::new(TWO).start()
}

fn daemon_ini(install: &Install) {
    let ini = format!(
        "{TWO}daemonize=true\ndaemon_log_file={}\ndaemon_pid_file={}\n",
        install.path("daemon.log").display(),
        install.path("pid").display()
    );
    install.write("config/smtp.ini", &ini);
}

fn daemon_pid(install: &Install) -> i32 {
    install.read("pid").trim().parse().unwrap()
}
