//! Signals: those that ask for a stop end a server in every phase of its life, and no other one ends it.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::support::process::{BINARY, Process, serve, skipped};

fn send(signal: &str, pid: u32) {
    assert!(Command::new("kill").args(["-s", signal, &pid.to_string()]).status().unwrap().success());
}

/// Waits until the process ends; `None` if it does not within a minute.
fn ended(child: &mut Child) -> Option<ExitStatus> {
    (0..600).find_map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        child.try_wait().unwrap()
    })
}

/// Waits until the file `log` has a line with `part`.
fn wait_for_line(log: &Path, part: &str) {
    for _ in 0..600 {
        if fs::read_to_string(log).unwrap().contains(part) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("no line with {part:?} in {}", fs::read_to_string(log).unwrap());
}

fn start_with_log(root: &Path) -> Process {
    let mut command = serve(&root.join("data"));
    command.env("RUST_LOG", "info");
    Process::spawn_into(command, &root.join("out"), &root.join("err"))
}

#[test]
fn a_signal_that_asks_for_no_stop_is_told_in_the_log_and_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let mut server = start_with_log(root.path());
    for signal in ["HUP", "USR1", "USR2"] {
        send(signal, server.child.id());
        wait_for_line(&root.path().join("out"), &format!("received SIG{signal}, and passed it over"));
    }
    assert!(TcpStream::connect(server.url.trim_start_matches("http://")).is_ok());
    assert_eq!(server.stop(), Some(0));
}

/// Kind: a stop that takes longer than a container has, ten seconds, since one client has sent half of a request.
#[test]
fn a_client_that_stalls_delays_a_stop_by_less_than_eight_seconds() {
    let root = tempfile::tempdir().unwrap();
    let mut server = start_with_log(root.path());
    let address = server.url.trim_start_matches("http://").to_owned();
    let begun = [
        "POST /v1/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
        "GET /healthz HTTP/1.1\r\nhost:",
    ];
    let clients = begun.map(|begun| {
        let mut client = TcpStream::connect(&address).unwrap();
        client.write_all(begun.as_bytes()).unwrap();
        client
    });
    let mut other = TcpStream::connect(&address).unwrap();
    other.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    std::io::Read::read_exact(&mut other, &mut [0; 12]).unwrap();
    let clock = portcullis::system::clock::Clock::system();
    let begin = clock.steady();
    assert_eq!(server.stop(), Some(0));
    let took = clock.steady().duration_since(begin);
    assert!(took < Duration::from_secs(8), "{took:?}");
    drop(clients);
}

/// A client that has sent half of a request keeps a stop waiting.
#[test]
fn a_second_signal_ends_a_stop_at_once_and_the_directory_is_sound() {
    let root = tempfile::tempdir().unwrap();
    let mut server = start_with_log(root.path());
    let mut client = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    let head =
        "POST /v1/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    client.write_all(head.as_bytes()).unwrap();
    // Its answer says that the head of the first one was read.
    let mut other = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    other.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    std::io::Read::read_exact(&mut other, &mut [0; 12]).unwrap();
    send("INT", server.child.id());
    wait_for_line(&root.path().join("out"), "received SIGINT: finishing the open requests");
    send("TERM", server.child.id());
    // A stop in order ends with 0.
    assert_eq!(ended(&mut server.child).and_then(|status| status.code()), Some(1));
    let mut again = Process::start(&root.path().join("data"));
    assert_eq!(again.stop(), Some(0));
}

/// A start that takes for ever: its list of passwords is a pipe to which nobody writes.
struct Starting {
    child: Child,
    _list: fs::File,
}

impl Starting {
    /// Lets `command`, which ends up as a server over `root`, come as far as the list.
    fn begin(root: &Path, mut command: Command) -> Self {
        let list = root.join("list");
        if !list.exists() {
            assert!(Command::new("mkfifo").arg(&list).status().unwrap().success());
        }
        command.env("PORTCULLIS__PASSWORD__LIST_FILE", &list).env("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0");
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        // Opening it waits until the server reads it.
        let list = fs::OpenOptions::new().write(true).open(&list).unwrap();
        Self { child, _list: list }
    }
}

#[test]
fn a_signal_during_the_start_ends_it_and_the_next_start_begins_anew() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    for signal in ["TERM", "INT", "QUIT"] {
        let mut starting = Starting::begin(root.path(), serve(&data));
        send("HUP", starting.child.id());
        send(signal, starting.child.id());
        assert_eq!(ended(&mut starting.child).and_then(|status| status.code()), Some(0), "{signal}");
    }
    let mut server = Process::start(&data);
    assert_eq!(server.stop(), Some(0));
}

/// The kernel keeps from the first process of a container every signal that it has no handler for.
#[test]
fn a_signal_during_the_start_ends_the_first_process_of_a_container() {
    let probe = ["-r", "--pid", "--fork", "--kill-child", "true"];
    if !Command::new("unshare").args(probe).status().is_ok_and(|status| status.success()) {
        return skipped("the first process of a container", "no user namespace with processes of its own");
    }
    let root = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["-r", "--pid", "--fork", "--kill-child", BINARY, "serve", "--data-dir"]);
    command.arg(root.path().join("data"));
    let mut starting = Starting::begin(root.path(), command);
    let pid = starting.child.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    send("TERM", children.trim().parse().unwrap());
    assert_eq!(ended(&mut starting.child).and_then(|status| status.code()), Some(0));
}
