//! The first process of a lab guest: makes the world, runs the job, reports, powers off.
//!
//! The same program, called `wt-act`, does single kernel operations in a process of their own (see `action`).

mod init;
mod report;
mod world;

fn main() {
    init::main();
}
