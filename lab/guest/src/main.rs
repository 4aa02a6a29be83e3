//! The first process of a lab guest: makes the world, runs the job, reports, powers off.
//!
//! The same program, called `wt-act`, does single kernel operations in a process of their own (see `action`).

mod action;
mod bench;
mod guard;
mod init;
mod packs;
mod product;
mod report;
mod shared;
mod story;
mod test;
mod world;

fn main() {
    let mut arguments = std::env::args();
    let name = arguments.next().unwrap_or_default();
    if name.ends_with("wt-act") {
        let arguments: Vec<String> = arguments.collect();
        std::process::exit(action::main(&arguments));
    }
    init::main();
}
