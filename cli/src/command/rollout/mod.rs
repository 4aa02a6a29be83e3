//! `watertight rollout ...`: content to a fleet, in stages, behind the health gate of the server.

mod api;
mod ring;
mod words;

use std::io::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use watertight_host::printable::printable;
use watertight_host::say::not_written;

use api::{Answer, Api, ApiArgs};

/// Exit codes as everywhere in this command.
const OK: u8 = 0;
const FAILED: u8 = 1;
const NOT_FOUND: u8 = 4;
const FORBIDDEN: u8 = 5;
const CONFLICT: u8 = 6;
const HALTED: u8 = 7;
const TIMED_OUT: u8 = 8;

/// How often `--watch` asks.
const EVERY: Duration = Duration::from_secs(1);

/// Roll content out to a fleet, in stages behind a health gate; exit code 7 says that the gate, or a person, halted it.
#[derive(Debug, clap::Args)]
pub struct RolloutArgs {
    #[command(subcommand)]
    command: RolloutCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RolloutCommand {
    /// Say what a rollout would be.
    Plan(WishArgs),
    /// Begin a rollout.
    Start(StartArgs),
    /// Say how a rollout stands, and why.
    Status(StatusArgs),
    /// Give the content to nobody else for now.
    Pause(ChangeArgs),
    /// Go on after a pause.
    Resume(ChangeArgs),
    /// End a rollout, and recall the content.
    Abort(ChangeArgs),
    /// End a hold: the stage counts as healthy.
    Promote(ChangeArgs),
    /// Say why a host is on its version.
    Why(WhyArgs),
    /// Say what the rings may begin, and when.
    Rings(RingsArgs),
    /// Say something else of a ring: delay, pause, pin, one release behind, maintenance window.
    Ring(ring::RingArgs),
}

#[derive(Debug, clap::Args)]
struct WishArgs {
    /// The pack: its name (the newest of it), `name@version`, or the start of its SHA-256.
    content: String,
    #[command(flatten)]
    api: ApiArgs,
    /// `standard` or `emergency`: the same gate, faster.
    #[arg(long, value_parser = ["standard", "emergency"], default_value = "standard")]
    lane: String,
    /// Within so many seconds hosts fetch what they were given.
    #[arg(long, value_name = "SECONDS")]
    pickup_s: Option<u64>,
    /// For so many seconds a host runs it before it may call itself healthy.
    #[arg(long, value_name = "SECONDS")]
    watch_s: Option<u64>,
    /// So many seconds a report may take.
    #[arg(long, value_name = "SECONDS")]
    report_s: Option<u64>,
    /// The holdback lasts so many seconds.
    #[arg(long, value_name = "SECONDS")]
    holdback_s: Option<u64>,
    /// Only for rings whose turn is now: it does not go on by itself to those whose turn comes later.
    #[arg(long)]
    once: bool,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Debug, clap::Args)]
struct StartArgs {
    #[command(flatten)]
    wish: WishArgs,
    /// Why, for the audit log.
    #[arg(long)]
    reason: String,
}

#[derive(Debug, clap::Args)]
struct StatusArgs {
    /// The rollout; without it the one that was begun last.
    id: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
    /// Follow it to its end: a line for each change. A server that gives no answer meanwhile is asked again.
    #[arg(long)]
    watch: bool,
    /// Follow it for so long at most; exit code 8 if it has not ended then.
    #[arg(long, value_name = "SECONDS", requires = "watch")]
    timeout_s: Option<u64>,
    /// Form of the answer; with `--watch` JSON is a line for each change.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Debug, clap::Args)]
struct ChangeArgs {
    /// The rollout.
    id: String,
    #[command(flatten)]
    api: ApiArgs,
    /// Why, for the audit log.
    #[arg(long)]
    reason: String,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Debug, clap::Args)]
struct WhyArgs {
    /// The host's id.
    host: String,
    #[command(flatten)]
    api: ApiArgs,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Debug, clap::Args)]
struct RingsArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// Forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// JSON.
    Json,
}

/// Runs the subcommand and gives its exit code.
///
/// # Errors
/// The server can't be asked, or nobody takes the answer.
pub fn run(args: &RolloutArgs) -> anyhow::Result<u8> {
    match &args.command {
        RolloutCommand::Plan(args) => {
            let answer = args.api.open()?.post("/v1/rollouts/plan", &wish(args, ""))?;
            tell(args.output, answer, words::plan)
        }
        RolloutCommand::Start(StartArgs { wish: args, reason }) => {
            let answer = args.api.open()?.post("/v1/rollouts", &wish(args, reason))?;
            tell(args.output, answer, words::line)
        }
        RolloutCommand::Status(args) => status(args),
        RolloutCommand::Pause(args) => change(args, "pause"),
        RolloutCommand::Resume(args) => change(args, "resume"),
        RolloutCommand::Abort(args) => change(args, "abort"),
        RolloutCommand::Promote(args) => change(args, "promote"),
        RolloutCommand::Why(args) => {
            let path = format!("/v1/hosts/{}/why", plain(&args.host)?);
            tell(args.output, args.api.open()?.get(&path)?, words::why)
        }
        RolloutCommand::Rings(args) => tell(args.output, args.api.open()?.get("/v1/rings")?, words::rings),
        RolloutCommand::Ring(args) => {
            let path = format!("/v1/rings/{}", plain(&args.ring)?);
            let answer = args.api.open()?.post(&path, &args.body())?;
            tell(args.output, answer, words::ring)
        }
    }
}

fn wish(args: &WishArgs, reason: &str) -> Value {
    json!({
        "content": args.content, "lane": args.lane, "pickup_s": args.pickup_s, "watch_s": args.watch_s, "report_s": args.report_s,
        "holdback_s": args.holdback_s, "once": args.once, "reason": reason,
    })
}

/// A part of a path. Ids and names have no other letters; without those that it has it would be somebody else's.
fn plain(id: &str) -> anyhow::Result<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    anyhow::ensure!(!id.is_empty() && id.bytes().all(is_plain), "{id:?}: a name or an id has letters, digits and -_.");
    Ok(id)
}

fn change(args: &ChangeArgs, change: &str) -> anyhow::Result<u8> {
    let path = format!("/v1/rollouts/{}/{change}", plain(&args.id)?);
    let answer = args.api.open()?.post(&path, &json!({ "reason": args.reason }))?;
    tell(args.output, answer, words::line)
}

fn status(args: &StatusArgs) -> anyhow::Result<u8> {
    let api = args.api.open()?;
    let until = args.timeout_s.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    let mut told: Option<Value> = None;
    let mut absence = Absence::default();
    loop {
        match newest_or(&api, args.id.as_deref(), wait(until))? {
            Answer::Good(found) => {
                absence.ends();
                if told.as_ref() != Some(&found) {
                    let in_words = if args.watch { words::line } else { words::status };
                    print(args.output, &found, in_words)?;
                }
                match found.get("state").and_then(Value::as_str).unwrap_or_default() {
                    "halted" => return Ok(HALTED),
                    "complete" | "open" => return Ok(OK),
                    _ if !args.watch => return Ok(OK),
                    _ => told = Some(found),
                }
            }
            // A server that is started anew takes nothing from the rollout. One that never answered may be the wrong one.
            Answer::Later(why) if told.is_some() => absence.goes_on(&why),
            refused => return tell(args.output, refused, words::status),
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(TIMED_OUT);
        }
        sleep(EVERY);
    }
}

/// How long an answer may take so that the watch ends in time; at the end of the time one more is asked for.
fn wait(until: Option<Instant>) -> Duration {
    let left = until.map_or(api::WAIT, |until| until.saturating_duration_since(Instant::now()));
    left.clamp(EVERY, api::WAIT)
}

/// A server that gives no answer: told once, and once more when it is over.
#[derive(Debug, Default)]
struct Absence {
    is_told: bool,
}

impl Absence {
    fn goes_on(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_told, true) {
            watertight_host::say!(
                "watertight: {}: the server gives no answer, and is asked again",
                printable(why.trim())
            );
        }
    }

    fn ends(&mut self) {
        if std::mem::take(&mut self.is_told) {
            watertight_host::say!("watertight: the server answers again");
        }
    }
}

fn newest_or(api: &Api, id: Option<&str>, wait: Duration) -> anyhow::Result<Answer> {
    let one = |id: &str| api.get_within(&format!("/v1/rollouts/{}", plain(id)?), wait);
    if let Some(id) = id {
        return one(id);
    }
    let all = match api.get_within("/v1/rollouts", wait)? {
        Answer::Good(all) => all,
        other => return Ok(other),
    };
    match all.pointer("/0/id").and_then(Value::as_str) {
        Some(id) => one(id),
        None => {
            let why = "no rollout was begun yet: `watertight rollout start`";
            Ok(Answer::Refused("not_found".to_owned(), why.to_owned()))
        }
    }
}

/// Tells an answer, or why there is none; gives the exit code.
fn tell(form: Form, answer: Answer, in_words: fn(&Value) -> String) -> anyhow::Result<u8> {
    match answer {
        Answer::Good(value) => {
            print(form, &value, in_words)?;
            Ok(OK)
        }
        Answer::Refused(code, why) => {
            watertight_host::say!("watertight: {}", printable(&why));
            Ok(match code.as_str() {
                "not_found" => NOT_FOUND,
                "unauthenticated" | "forbidden" | "token" | "expired" | "revoked" => FORBIDDEN,
                "conflict" => CONFLICT,
                _ => FAILED,
            })
        }
        Answer::Later(why) => {
            watertight_host::say!("watertight: {}", printable(why.trim()));
            Ok(FAILED)
        }
    }
}

fn print(form: Form, value: &Value, in_words: fn(&Value) -> String) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match form {
        Form::Json => writeln!(out, "{value}"),
        Form::Text => write!(out, "{}", in_words(value)),
    }
    .and_then(|()| out.flush())
    .map_err(not_written("the answer"))
}
