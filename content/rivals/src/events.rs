//! Events to race over, made from the public samples in one way only, so that every run has the same.
//!
//! Linux: every line of a shell command of the public attack samples is a process that a shell started, mixed with what
//! ordinary machines run. Windows: the recorded events of the rules' own regression cases, and events that have one of their
//! fields from another event of the same log source, until there are enough.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Result};
use serde_json::{json, Map, Value as Json};
use watertight_content::rule::LogSource;

use crate::engines::{rule_files, Event};

/// Numbers that look random and are the same in every run (xorshift, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(most.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }
}

/// What machines run when nobody attacks them.
const ORDINARY: [&str; 24] = [
    "ls -la --color=auto /var/log",
    "/usr/lib/systemd/systemd-executor --deserialize 71 --log-level info --log-target journal-or-kmsg",
    "gcc -O2 -g -Wall -Iinclude -c src/parser.c -o build/parser.o",
    "/usr/lib/gcc/x86_64-linux-gnu/12/cc1 -quiet -imultiarch x86_64-linux-gnu src/table.c -o /tmp/ccU1h2.s",
    "git rev-parse --abbrev-ref HEAD",
    "grep -rn --include=*.rs unsafe src",
    "python3 -m pytest -q tests/unit",
    "dpkg-query --show --showformat=${Package}\\t${Version}\\n",
    "/usr/sbin/logrotate /etc/logrotate.conf",
    "sh -c run-parts --report /etc/cron.hourly",
    "nginx: worker process",
    "node /srv/app/server.js --port 8080",
    "java -Xmx2g -jar /opt/service/service.jar --spring.profiles.active=prod",
    "sed -e s/@VERSION@/1.2.3/ config.h.in",
    "tar -xf linux-6.1.tar.xz --strip-components=1",
    "make -j8 all",
    "ld -o build/app build/main.o build/parser.o -lm",
    "/usr/bin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock",
    "runc --root /run/docker/runtime-runc/moby create --bundle /run/containerd/io.containerd.runtime.v2.task/moby/a",
    "ps aux --sort=-%cpu",
    "date +%s",
    "cat /proc/meminfo",
    "rsync -a --delete /srv/data/ backup@10.0.0.5:/backup/data/",
    "postgres: autovacuum worker template1",
];

const PARENTS: [(&str, &str); 6] = [
    ("/bin/bash", "bash -c ./run.sh"),
    ("/usr/bin/dash", "sh /etc/cron.daily/apt-compat"),
    ("/usr/lib/systemd/systemd", "/sbin/init"),
    ("/usr/sbin/sshd", "sshd: alice [priv]"),
    ("/usr/bin/make", "make all"),
    ("/usr/bin/python3.11", "python3 deploy.py"),
];

const FOLDERS: [&str; 4] = ["/home/alice/src", "/", "/tmp", "/var/lib/app"];

/// So many processes of a Linux machine: one in three runs what an attack sample would.
pub fn linux(corpora: &Path, count: usize) -> Result<Vec<Event>> {
    let attacks = shell_lines(&corpora.join("atomics"))?;
    if attacks.is_empty() {
        bail!("no shell commands below {}", corpora.join("atomics").display());
    }
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let logsource =
        LogSource { category: Some("process_creation".into()), product: Some("linux".into()), service: None };
    let made = (0..count).map(|number| {
        let line = match dice.below(3) {
            0 => dice.one(&attacks).cloned().unwrap_or_default(),
            _ => dice.one(&ORDINARY).copied().unwrap_or_default().replace('8', &dice.below(9000).to_string()),
        };
        let program = line.split_whitespace().next().unwrap_or("sh").trim_end_matches(':').to_owned();
        let image = if program.starts_with('/') { program } else { format!("/usr/bin/{program}") };
        let (parent, parent_line) = dice.one(&PARENTS).copied().unwrap_or_default();
        let fields = json!({
            "Image": image, "CommandLine": line, "ParentImage": parent, "ParentCommandLine": parent_line,
            "User": if dice.below(2) == 0 { "root" } else { "alice" }, "LogonId": "0",
            "CurrentDirectory": dice.one(&FOLDERS), "ProcessId": 1000 + number, "ParentProcessId": 900,
        });
        Event { logsource: logsource.clone(), fields }
    });
    Ok(made.collect())
}

/// Every line of the commands that are for a shell.
fn shell_lines(folder: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for file in rule_files(folder)? {
        let text = fs::read_to_string(&file)?;
        let mut of_shell = false;
        for part in text.split("- name: ") {
            of_shell |= part.contains("- linux");
            let Some((_, command)) = part.split_once("command: |") else { continue };
            let is_shell = part.contains("name: sh\n") || part.contains("name: bash\n");
            if of_shell && is_shell {
                let body =
                    command.lines().map(str::trim).filter(|line| line.len() > 2 && !line.contains("cleanup_command"));
                lines.extend(body.map(str::to_owned));
            }
        }
    }
    Ok(lines)
}

/// Every event of the regression cases, with each log source that it stands for.
pub fn regression(corpora: &Path) -> Result<Vec<Event>> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = vec![corpora.join("sigma/regression_data")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|extension| extension == "json") => files.push(path),
                false => {}
            }
        }
    }
    files.sort();
    let mut events = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        for json in serde_json::Deserializer::from_str(text.trim_start_matches('\u{feff}')).into_iter::<Json>() {
            let several = match json? {
                Json::Array(items) => items,
                other => vec![other],
            };
            events.extend(several.iter().flat_map(windows_event));
        }
    }
    Ok(events)
}

/// So many Windows events: the recorded ones, then those with fields of each other.
pub fn windows(corpora: &Path, count: usize) -> Result<Vec<Event>> {
    let recorded = regression(corpora)?;
    let mut by_source: BTreeMap<LogSource, Vec<Json>> = BTreeMap::new();
    for event in &recorded {
        by_source.entry(event.logsource.clone()).or_default().push(event.fields.clone());
    }
    let mut dice = Dice(0xD1B5_4A32_D192_ED03);
    let mut events = recorded;
    let from = events.len();
    while events.len() < count.max(from) {
        let Some(picked) = dice.one(events.get(..from).unwrap_or_default()) else { break };
        let logsource = picked.logsource.clone();
        let mut fields = picked.fields.clone();
        let others = by_source.get(&logsource).map(Vec::as_slice).unwrap_or_default();
        if let (Some(own), Some(Json::Object(other))) = (fields.as_object_mut(), dice.one(others)) {
            for (name, value) in other {
                if dice.below(3) == 0 {
                    own.insert(name.clone(), value.clone());
                }
            }
        }
        events.push(Event { logsource, fields });
    }
    Ok(events)
}

/// A Windows event as rules see it, once for each log source that it stands for.
fn windows_event(event: &Json) -> Vec<Event> {
    let event = event.get("Event").unwrap_or(event);
    let system = event.get("System").cloned().unwrap_or_default();
    let id = match &system["EventID"] {
        Json::Object(entries) => entries.get("#text").cloned().unwrap_or_default(),
        plain => plain.clone(),
    };
    let mut fields = Map::new();
    for part in ["EventData", "UserData"] {
        if let Some(Json::Object(entries)) = event.get(part) {
            entries.iter().for_each(|(name, value)| flatten(name, value, &mut fields));
        }
    }
    fields.insert("EventID".into(), id.clone());
    for name in ["Channel", "Computer", "Level", "Task", "Opcode", "Keywords"] {
        if let Some(value) = system.get(name) {
            fields.insert(name.into(), value.clone());
        }
    }
    if let Some(provider) = system.pointer("/Provider/#attributes/Name") {
        fields.insert("Provider_Name".into(), provider.clone());
    }
    let number = id.as_u64().or_else(|| id.as_str().and_then(|text| text.parse().ok())).unwrap_or_default();
    let fields = Json::Object(fields);
    let sources = logsources(system["Channel"].as_str().unwrap_or_default(), number);
    sources.into_iter().map(|logsource| Event { logsource, fields: fields.clone() }).collect()
}

fn flatten(name: &str, value: &Json, fields: &mut Map<String, Json>) {
    match value {
        Json::Object(entries) if name != "#attributes" => {
            entries.iter().for_each(|(inner, value)| flatten(inner, value, fields));
        }
        Json::Object(_) => {}
        other => {
            fields.insert(name.replace(' ', ""), other.clone());
        }
    }
}

fn logsources(channel: &str, id: u64) -> Vec<LogSource> {
    let sysmon = channel == "Microsoft-Windows-Sysmon/Operational";
    let categories: &[&str] = match id {
        1 if sysmon => &["process_creation"],
        2 if sysmon => &["file_change"],
        3 if sysmon => &["network_connection"],
        5 if sysmon => &["process_termination"],
        6 if sysmon => &["driver_load"],
        7 if sysmon => &["image_load"],
        8 if sysmon => &["create_remote_thread"],
        10 if sysmon => &["process_access"],
        11 if sysmon => &["file_event"],
        12 if sysmon => &["registry_event", "registry_add", "registry_delete"],
        13 if sysmon => &["registry_event", "registry_set"],
        14 if sysmon => &["registry_event", "registry_rename"],
        15 if sysmon => &["create_stream_hash"],
        17 | 18 if sysmon => &["pipe_created"],
        22 if sysmon => &["dns_query"],
        23 | 26 if sysmon => &["file_delete"],
        4103 if channel.contains("PowerShell") => &["ps_module"],
        4104 if channel.contains("PowerShell") => &["ps_script"],
        4688 if channel == "Security" => &["process_creation"],
        _ => &[],
    };
    let service = match channel {
        "Microsoft-Windows-Sysmon/Operational" => "sysmon",
        "Microsoft-Windows-PowerShell/Operational" => "powershell",
        "Microsoft-Windows-Windows Defender/Operational" => "windefend",
        "Microsoft-Windows-TaskScheduler/Operational" => "taskscheduler",
        "Microsoft-Windows-WMI-Activity/Operational" => "wmi",
        "Security" => "security",
        "System" => "system",
        "Application" => "application",
        other => other,
    };
    let source = |category: Option<&str>| LogSource {
        category: category.map(str::to_owned),
        product: Some("windows".into()),
        service: Some(service.into()),
    };
    match categories {
        [] => vec![source(None)],
        _ => categories.iter().map(|category| source(Some(category))).collect(),
    }
}
