//! The status page: one page, no script, written by the server. It stays when anything fancier fails.
//!
//! A browser asks for a password; any name will do, the password is a token of the operator API.

mod chart;
mod rings;
mod rollouts;

use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{header, HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use watertight_event::printable::{distinct, push};

use super::answer::Refusal;
use super::operator::{allowed, may};
use super::status::Status;
use crate::clock::{now_ms, words};
use crate::hosts::{Absence, Host};
use crate::roles::Action;
use crate::rollout::{RingAnswer, RolloutAnswer};
use crate::server::Server;
use crate::store::{BucketRow, CrashSlot};

/// Hosts that the page lists: those that need a look come first.
const HOSTS_MAX: usize = 200;
const BUCKETS_MAX: u32 = 50;
const WEEK_MS: u64 = 7 * 24 * 3_600_000;
const HOUR_MS: u64 = 3_600_000;
/// Of a host that says none.
const NO_NAME: &str = "(no name)";
const STYLE: &str = include_str!("page/style.css");

pub(super) async fn style() -> Response {
    let mut response = Response::new(Body::from(STYLE));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/css"));
    response
}

pub(super) async fn page(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    let seen = match by_password(&headers) {
        Some(token) => may(&server, Some(&token), Action::Look).await,
        None => allowed(&server, &headers, Action::Look).await,
    };
    if let Err(refusal) = seen {
        let mut response = refusal.into_response();
        if !matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return response; // another token would hear the same
        }
        let ask = HeaderValue::from_static("Basic realm=\"watertight: any name, the password is a token\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return response;
    }
    match written(&server).await {
        Ok(text) => html(text),
        Err(refusal) => refusal.into_response(),
    }
}

fn html(text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    let policy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// `Authorization: Basic`, whose password is the token.
fn by_password(headers: &HeaderMap) -> Option<String> {
    let sent = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(base64(sent.trim())?).ok()?;
    Some(pair.split_once(':')?.1.to_owned())
}

/// Reads base64 (RFC 4648), of the length that a header may have.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0_u32);
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

async fn written(server: &Server) -> Result<String, Refusal> {
    let now_ms = now_ms();
    let status = Status::of(server).await?;
    let buckets = server.store.buckets(now_ms.saturating_sub(WEEK_MS), BUCKETS_MAX).await?;
    let slots = server.store.crash_slots(now_ms.saturating_sub(WEEK_MS), HOUR_MS).await?;
    let rollouts = server.rollouts.all(server).await?;
    let rings = server.rollouts.rings(server).await?;
    let mut hosts: Vec<Line> = server.hosts.all().iter().map(|cell| Line::of(&cell.lock(), now_ms)).collect();
    hosts.sort();
    Ok(text(&status, &rollouts, &rings, &buckets, &slots, &hosts, now_ms))
}

fn text(
    status: &Status,
    rollouts: &[RolloutAnswer],
    rings: &[RingAnswer],
    buckets: &[BucketRow],
    slots: &[CrashSlot],
    hosts: &[Line],
    now_ms: u64,
) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Watertight fleet</title>\
         <meta http-equiv=\"refresh\" content=\"30\"><link rel=\"stylesheet\" href=\"/status.css\"></head><body>\n",
    );
    let (class, answer) = if status.is_safe_to_leave {
        ("good", "The fleet is safe to leave.")
    } else {
        ("bad", "The fleet needs a look.")
    };
    let _ = writeln!(page, "<h1 class=\"{class}\">{answer}</h1>");
    if !status.because.is_empty() {
        let items: String = status.because.iter().map(|why| format!("<li>{}</li>", shown(why))).collect();
        let _ = writeln!(page, "<ul>{items}</ul>");
    }
    let _ = writeln!(
        page,
        "<p>{} hosts: {} online, {} silent, {} down in good order, {} with a clone; {} revoked. {} of them are at generation {}. As of {}.</p>",
        status.hosts,
        status.online,
        status.silent,
        status.down,
        status.cloned,
        status.revoked,
        status.at_newest_generation,
        status.generation,
        words(status.clock_ms)
    );
    rollouts::table(&mut page, rollouts);
    rings::table(&mut page, rings, now_ms);
    page.push_str("<h2>Crashes, last seven days</h2>\n");
    page.push_str(&chart::chart(slots, now_ms.saturating_sub(WEEK_MS), now_ms, HOUR_MS));
    bucket_table(&mut page, buckets);
    host_table(&mut page, hosts);
    page.push_str("</body></html>\n");
    page
}

fn bucket_table(page: &mut String, buckets: &[BucketRow]) {
    if buckets.is_empty() {
        page.push_str("<p>No crash was reported.</p>\n");
        return;
    }
    page.push_str(
        "<table><tr><th>bucket</th><th>hosts</th><th>crashes</th><th>first</th><th>last</th><th>fault</th><th>content</th><th>rule</th></tr>\n",
    );
    for row in buckets {
        let title = if row.is_ours { format!("ours: {}", row.title) } else { row.title.clone() };
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            shown(&row.bucket),
            row.hosts,
            row.crashes,
            words(row.first_ms),
            words(row.last_ms),
            shown(&title),
            shown(&row.content),
            shown(&row.rule)
        );
    }
    page.push_str("</table>\n");
}

fn host_table(page: &mut String, hosts: &[Line]) {
    let _ = writeln!(page, "<h2>Hosts</h2>");
    if hosts.is_empty() {
        page.push_str("<p>None is enrolled. <code>watertight server token --ring RING</code> makes a token.</p>\n");
        return;
    }
    page.push_str(
        "<table><tr><th>state</th><th>id</th><th>name</th><th>ring</th><th>last seen</th><th>due</th><th>generation</th>\
         <th>content</th><th>protection</th><th>lost in a day</th></tr>\n",
    );
    for line in hosts.iter().take(HOSTS_MAX) {
        let cells: String = line.cells.iter().map(|cell| format!("<td>{}</td>", shown(cell))).collect();
        let _ = writeln!(page, "<tr class=\"{}\"><td>{}</td>{cells}</tr>", line.state.class(), line.state.word());
    }
    page.push_str("</table>\n");
    if hosts.len() > HOSTS_MAX {
        let _ = writeln!(page, "<p>{} more: <code>/v1/hosts</code> has all.</p>", hosts.len() - HOSTS_MAX);
    }
}

/// What a host's line says first; those that need a look come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HostState {
    Cloned,
    NotBack,
    Silent,
    RefusesDirector,
    WrongClock,
    LostRecords,
    Reboots,
    Off,
    Online,
    Revoked,
}

impl HostState {
    fn word(self) -> &'static str {
        match self {
            Self::Cloned => "cloned",
            Self::NotBack => "not back after a reboot",
            Self::Silent => "silent",
            Self::RefusesDirector => "refuses the director",
            Self::WrongClock => "clock is wrong",
            Self::LostRecords => "lost records",
            Self::Reboots => "reboots",
            Self::Off => "shut down",
            Self::Online => "online",
            Self::Revoked => "revoked",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Online => "good",
            Self::Revoked | Self::Reboots | Self::Off => "gone",
            Self::Cloned
            | Self::NotBack
            | Self::Silent
            | Self::RefusesDirector
            | Self::WrongClock
            | Self::LostRecords => "bad",
        }
    }
}

impl From<Absence> for HostState {
    fn from(absence: Absence) -> Self {
        match absence {
            Absence::Silent => Self::Silent,
            Absence::Reboots => Self::Reboots,
            Absence::NotBack => Self::NotBack,
            Absence::Off => Self::Off,
        }
    }
}

/// A host's line in the table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    state: HostState,
    cells: Vec<String>,
}

impl Line {
    fn of(host: &Host, now_ms: u64) -> Self {
        let row = &host.row;
        let told = &row.seen.state;
        let lost = host.lost.last_day(now_ms);
        let refused = told.content.as_ref().map_or("", |content| content.director_refused.as_str());
        let state = if row.revoked_ms.is_some() {
            HostState::Revoked
        } else if row.cloned_ms.is_some() {
            HostState::Cloned
        } else if let Some(absence) = host.absence_by_its_promise(now_ms) {
            HostState::from(absence)
        } else if !refused.is_empty() {
            HostState::RefusesDirector
        } else if row.seen.clock_ahead_ms.unsigned_abs() > super::status::CLOCK_AHEAD_MS_MAX {
            HostState::WrongClock
        } else if lost.sum() > 0 {
            HostState::LostRecords
        } else {
            HostState::Online
        };
        let moment = |at_ms: u64| if at_ms == 0 { "never".to_owned() } else { words(at_ms) };
        let content = told.content.as_ref().map_or_else(
            || "unknown".to_owned(),
            |content| {
                let paused = if content.is_paused { ", paused" } else { "" };
                let refuses = if refused.is_empty() { String::new() } else { format!("; it refuses: {refused}") };
                format!("{} version {} ({}{paused}){refuses}", start(&content.id), content.version, content.slot)
            },
        );
        let protection = told.protection.as_ref().map_or_else(
            || "unknown".to_owned(),
            |part| {
                if part.missing.is_empty() {
                    part.level.clone()
                } else {
                    format!("{}, without {}", part.level, part.missing.join(", "))
                }
            },
        );
        let cells = vec![
            row.id.clone(),
            told.host
                .as_ref()
                .filter(|host| !host.name.is_empty())
                .map_or_else(|| NO_NAME.to_owned(), |host| host.name.clone()),
            row.ring.clone(),
            moment(row.seen.last_seen_ms),
            moment(row.seen.promised_ms),
            row.seen.generation.to_string(),
            content,
            protection,
            if lost.sum() > 0 { lost.in_words() } else { "nothing".to_owned() },
        ];
        Self { state, cells }
    }
}

/// The start of a digest, which is enough to tell packs apart.
fn start(id: &str) -> String {
    id.chars().take(12).collect()
}

/// Text that hosts have a part in: every letter of it can be seen, and no name is taken for another, or for none.
fn shown(text: &str) -> String {
    escaped(&distinct(text))
}

/// Text of others in a page: no character of it means anything there, and none hides others.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => push(&mut safe, c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_hosts_means_nothing_in_the_page() {
        assert_eq!(escaped("<b a=\"'&\">\u{1b}\u{202e}x"), "&lt;b a=&quot;&#39;&amp;&quot;&gt;\\u{1b}\\u{202e}x");
        for unseen in ['\u{ad}', '\u{61c}', '\u{2028}', '\u{2060}', '\u{feff}', '\u{e0041}'] {
            assert_eq!(escaped(&format!("a{unseen}b")), format!("a{}b", unseen.escape_default()));
        }
    }

    #[test]
    fn a_host_whose_name_can_not_be_seen_is_in_the_table_with_what_it_is() {
        let cell = |name: &str| {
            let part = watertight_fleet_wire::checkin::HostPart { name: name.into(), ..Default::default() };
            let mut host = Host::default();
            host.row.seen.state.host = Some(part);
            let mut page = String::new();
            host_table(&mut page, &[Line::of(&host, 1)]);
            page
        };
        assert!(cell("web\u{301}\u{301}").contains("<td>web\\u{301}\\u{301}</td>"));
        assert!(cell("\u{3164}").contains("<td>\\u{3164}</td>") && cell(" ").contains("<td>\\u{20}</td>"));
        assert!(cell("").contains("<td>(no name)</td>") && cell("web-1").contains("<td>web-1</td>"));
    }

    #[test]
    fn a_host_that_lost_records_comes_before_those_that_need_no_look_for_a_day() {
        let mut lost = Host::default();
        lost.row.id = "z".to_owned();
        lost.row.seen.promised_ms = HOUR_MS;
        lost.lost.note(watertight_fleet_wire::records::Stream::Alert, 9, HOUR_MS);
        let mut page = String::new();
        host_table(&mut page, &[Line::of(&lost, HOUR_MS)]);
        assert!(page.contains("<tr class=\"bad\"><td>lost records</td><td>z</td>"), "{page}");
        assert!(page.contains("<td>9 alerts</td></tr>"), "{page}");
        assert!(Line::of(&lost, HOUR_MS) < Line::of(&Host::default(), 1));
        lost.row.seen.promised_ms = 30 * HOUR_MS;
        assert_eq!(Line::of(&lost, 30 * HOUR_MS).state, HostState::Online);
    }

    #[test]
    fn a_password_is_read_as_browsers_send_it() {
        assert_eq!(base64("YWRhOnd0LTE=").as_deref(), Some(b"ada:wt-1".as_slice()));
        assert_eq!(base64("YWRhOnd0LTEy").as_deref(), Some(b"ada:wt-12".as_slice()));
        assert_eq!(base64("a b"), None);
    }

    #[test]
    fn hosts_that_need_a_look_come_first() {
        let line = |state, id: &str| Line { state, cells: vec![id.to_owned()] };
        let mut lines = [line(HostState::Online, "a"), line(HostState::Revoked, "b"), line(HostState::Silent, "c")];
        lines.sort();
        assert_eq!(lines.map(|line| line.cells.concat()), ["c", "a", "b"]);
    }
}
