//! The shipped rules hold for what the sensor really says: records as the kernel programs write them go through translation
//! and rules. Each test is of a value whose form a rule depends on.

use watertight_engine::Image;
use watertight_event::{Event, Field};
use watertight_host::worker::rules;
use watertight_sensor_abi::{
    Exec, File, Header, Hook, Process, Record, RecordType, Socket, System, Tag, ABI_VERSION, ATTACHMENT_DETACHED,
    ATTACHMENT_UNREADABLE, FLAG_HAS_PROCESS,
};
use watertight_sensor_reader::{translate, ProcessIds};

const TMPFS_MAGIC: u32 = 0x0102_1994;

/// A record under construction.
struct Written(Vec<u8>);

impl Written {
    fn new(hook: Hook, record: RecordType, body: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = Vec::new();
        let flags = FLAG_HAS_PROCESS;
        let head =
            Header { version: ABI_VERSION, record: record as u16, hook: hook as u16, flags, ..Header::default() };
        head.write(&mut bytes);
        Process { pid: 7, ..Process::default() }.write(&mut bytes);
        body(&mut bytes);
        Self(bytes)
    }

    fn with(mut self, tag: Tag, flags: u16, text: &[u8]) -> Self {
        self.0.extend_from_slice(&(tag as u16).to_le_bytes());
        self.0.extend_from_slice(&flags.to_le_bytes());
        self.0.extend_from_slice(&u32::try_from(text.len()).expect("short").to_le_bytes());
        self.0.extend_from_slice(text);
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self
    }

    fn event(mut self) -> Event {
        let size = u32::try_from(self.0.len()).expect("short");
        self.0[4..8].copy_from_slice(&size.to_le_bytes());
        translate(&Record::read(&self.0).expect("as the kernel writes it"), &mut ProcessIds::new("boot"))
    }
}

fn exec(body: Exec) -> Written {
    Written::new(Hook::TaskExec, RecordType::Exec, |bytes| body.write(bytes))
}

fn titles(event: &Event) -> Vec<String> {
    let rules::Loaded { image, refused, .. } = rules::load(&[]).expect("the shipped rules");
    let mut rules = rules::Rules::of(Image::open(&image).expect("compiled here"));
    assert!(refused.is_empty(), "{refused:?}");
    let mut titles = Vec::new();
    rules.evaluate(event, &mut |alert| titles.push(alert.rule.title().to_owned()));
    titles
}

fn assert_fires(event: &Event, title: &str) {
    let titles = titles(event);
    assert!(titles.iter().any(|fired| fired == title), "{title:?} is not among {titles:?}");
}

fn assert_silent(event: &Event) {
    assert_eq!(titles(event), Vec::<String>::new());
}

#[test]
fn a_memfd_has_the_path_that_every_other_tool_shows() {
    let body = Exec { links: 0, fs_magic: TMPFS_MAGIC, ..Exec::default() };
    let event = exec(body).with(Tag::Executable, ATTACHMENT_DETACHED, b"memfd:x\0").with(Tag::Argv, 0, b"x\0").event();
    assert_eq!(event.text(Field::Executable).as_deref(), Some("/memfd:x"));
    assert_fires(&event, "Program started from memory without a file");
}

#[test]
fn an_empty_argument_list_is_told_from_one_that_could_not_be_read() {
    let none =
        exec(Exec { links: 1, ..Exec::default() }).with(Tag::Executable, 0, b"su\0bin\0").with(Tag::Argv, 0, b"\0");
    assert_fires(&none.event(), "Program started with an empty name");
    let unread = exec(Exec { links: 1, argv_bytes: 9, ..Exec::default() })
        .with(Tag::Executable, 0, b"su\0bin\0")
        .with(Tag::Argv, ATTACHMENT_UNREADABLE, b"")
        .event();
    assert_eq!(unread.text(Field::CommandLine), None);
    assert_silent(&unread);
}

#[test]
fn a_mode_is_octal_as_rules_write_it() {
    let chmod = |mode| {
        let file = File { mode, ..File::default() };
        Written::new(Hook::FileChmod, RecordType::File, |bytes| file.write(bytes))
            .with(Tag::Path, 0, b"x\0tmp\0")
            .event()
    };
    assert_fires(&chmod(0o104_755), "Setuid bit set on a file");
    assert_silent(&chmod(0o100_644));
}

fn socket(hook: Hook, local: &str, remote: &str, port: u16) -> Event {
    let bytes = |text: &str| text.parse::<std::net::Ipv6Addr>().expect("an address").octets();
    let body = Socket {
        family: 10,
        protocol: 6,
        local: bytes(local),
        remote: bytes(remote),
        local_port: port,
        remote_port: port,
        ..Socket::default()
    };
    Written::new(hook, RecordType::Socket, |bytes| body.write(bytes)).event()
}

#[test]
fn a_listener_has_the_address_that_it_listens_on() {
    let listen = |address| socket(Hook::SockListen, address, "::", 31337).with(Field::Executable, "/tmp/x");
    assert_fires(&listen("::"), "Program in a temporary folder waits for connections");
    assert_silent(&listen("::1"));
    assert_silent(&listen("::ffff:127.0.0.1"));
}

#[test]
fn an_ipv4_peer_of_an_ipv6_socket_is_an_ipv4_address() {
    let connect = |address| socket(Hook::SockConnect, "::", address, 4444).with(Field::Executable, "/bin/bash");
    let far = connect("::ffff:203.0.113.7");
    assert_eq!(far.text(Field::Family).as_deref(), Some("ipv4"));
    assert_fires(&far, "Shell opens a network connection itself");
    assert_silent(&connect("::ffff:127.0.0.1"));
    assert_fires(&connect("2001:db8::1"), "Shell opens a network connection itself");
}

#[test]
fn an_old_control_group_is_told_by_both_ways_to_mount_it() {
    let title = "Host disk or control group mounted by hand";
    let body = |command, what| move |bytes: &mut Vec<u8>| System { command, what, value: 0 }.write(bytes);
    let by_mount = Written::new(Hook::Mount, RecordType::System, body(1, 0))
        .with(Tag::Path, 0, b"cg\0tmp\0")
        .with(Tag::Name, 0, b"none")
        .with(Tag::Type, 0, b"cgroup");
    assert_fires(&by_mount.event(), title);
    let by_move = Written::new(Hook::MoveMount, RecordType::System, body(3, 1))
        .with(Tag::OldPath, ATTACHMENT_DETACHED, b"/\0")
        .with(Tag::Path, 0, b"cg\0tmp\0")
        .with(Tag::Type, 0, b"cgroup")
        .with(Tag::Name, 0, b"none")
        .event();
    assert_fires(&by_move, title);
    assert_eq!(by_move.text(Field::MountSource).as_deref(), Some("none"));
    assert_eq!(by_move.text(Field::MountRoot).as_deref(), Some("/"));
}

#[test]
fn a_kernel_for_kexec_is_no_module_and_firmware_is_neither() {
    let load = |id, path: &[u8]| {
        let body = System { command: id, ..System::default() };
        Written::new(Hook::KernelReadFile, RecordType::System, |bytes| body.write(bytes))
            .with(Tag::Path, 0, path)
            .event()
    };
    assert_fires(&load(3, b"bzImage\0tmp\0"), "New kernel loaded with kexec");
    assert_fires(&load(2, b"x.ko\0tmp\0"), "Kernel module loaded from outside the module folders");
    assert_silent(&load(1, b"fw.bin\0firmware\0lib\0"));
}
