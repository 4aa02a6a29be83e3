//! `watertight-lab`: boots stock Debian kernels in emulation and runs the kernel tests, or one command, in them.

mod archive;
mod bench;
mod crash;
mod demo;
mod image;
mod kernel;
mod lab;
mod machine;
mod programs;
mod tool;
mod variant;

use clap::{Parser, Subcommand};
use kernel::Series;
use lab::Lab;
use machine::{Clock, Terms};
use programs::ProductArgs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Boots stock Debian kernels in emulation and runs tests or a command in them.
#[derive(Parser)]
struct Args {
    /// QEMU's -accel, for example kvm
    #[arg(long, global = true, default_value = machine::ACCELERATOR)]
    accel: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the guest's tests
    Test {
        /// Only this kernel line
        #[arg(long)]
        kernel: Option<Series>,
        /// How long one guest may run
        #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
        timeout: u64,
        #[command(flatten)]
        product: ProductArgs,
        /// Only tests whose name contains this, or one of these separated by commas
        #[arg(default_value = "")]
        filter: String,
    },
    /// Run one command in a guest and end with its exit code
    Boot {
        /// The kernel line
        #[arg(long, default_value = "6.12")]
        kernel: Series,
        /// Kernel parameters beside the lab's own, for example lockdown=confidentiality
        #[arg(long, default_value = "", value_name = "TEXT", allow_hyphen_values = true)]
        kernel_args: String,
        /// How long the guest may run
        #[arg(long, default_value_t = 120, value_name = "SECONDS")]
        timeout: u64,
        #[command(flatten)]
        product: ProductArgs,
        /// One processor whose time is the count of its instructions, as in benchmarks
        #[arg(long)]
        counted: bool,
        /// Shell text; several words are joined by spaces
        #[arg(last = true, required = true)]
        words: Vec<String>,
    },
    /// Crash a guest and keep its cores and its console's log in a folder
    Core {
        /// Which crash: null, hung, stack, sysrq
        crash: String,
        /// The folder, which must be there
        folder: PathBuf,
    },
    /// Play a story of two minutes: events, a detection, a denial that outlives every process of the product
    Demo {
        /// The kernel line
        #[arg(long, default_value = "6.12")]
        kernel: Series,
        #[command(flatten)]
        product: ProductArgs,
    },
    /// Measure what the product costs and write the page of benchmarks
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    let Args { accel, command } = Args::parse();
    let terms = |seconds, kernel_args| Terms {
        clock: Clock::Real,
        accelerator: accel.clone(),
        time_max: Duration::from_secs(seconds),
        kernel_args,
        hardware: Vec::new(),
    };
    let done = match command {
        Command::Test { kernel, timeout, product, filter } => {
            let kernels = kernel.map_or(Series::ALL.to_vec(), |only| vec![only]);
            Lab::prepare(&product, terms(timeout, String::new())).and_then(|lab| lab.test(&kernels, &filter))
        }
        Command::Boot { kernel, kernel_args, timeout, product, counted, words } => {
            let clock = if counted { Clock::Counted } else { Clock::Real };
            Lab::prepare(&product, Terms { clock, ..terms(timeout, kernel_args) })
                .and_then(|lab| lab.run_command(kernel, &words.join(" ")))
        }
        Command::Core { crash, folder } => {
            let product = ProductArgs::none();
            Lab::prepare(&product, terms(300, String::new())).and_then(|lab| lab.keep_core(&crash, &folder))
        }
        Command::Demo { kernel, product } => demo::run(kernel, &product, accel),
        Command::Bench(args) => bench::run(&args, &accel),
    };
    done.unwrap_or_else(|error| {
        eprintln!("watertight-lab: {error:#}");
        ExitCode::FAILURE
    })
}
