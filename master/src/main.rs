//! The executable: hand the arguments to the master.

fn main() -> std::process::ExitCode {
    haraka_master::cli::run(std::env::args_os(), haraka_master::WorkerSide::REAL)
}
