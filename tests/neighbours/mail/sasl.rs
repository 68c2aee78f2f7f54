//! The program that Postfix asks about names and passwords, in the place of Dovecot.
//!
//! Source: Dovecot's authentication protocol, version 1.1.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use base64ct::{Base64, Encoding};

use super::LOGIN;

/// Starts to answer, and returns the port. Names and passwords come by PLAIN alone.
pub fn start() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    port
}

fn serve(stream: TcpStream) {
    let mut write = stream.try_clone().unwrap();
    let mut say = |text: &str| write.write_all(text.as_bytes()).is_ok();
    let cookie = "0".repeat(32);
    say(&format!("VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t{cookie}\nDONE\n"));
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let Some(request) = line.strip_prefix("AUTH\t") else { continue };
        let id = request.split('\t').next().unwrap();
        let response = request.split('\t').find_map(|part| part.strip_prefix("resp=")).unwrap_or_default();
        let expected = format!("\0{}\0{}", LOGIN.0, LOGIN.1);
        let is_right = Base64::decode_vec(response).is_ok_and(|decoded| decoded == expected.as_bytes());
        let verdict =
            if is_right { format!("OK\t{id}\tuser={}\n", LOGIN.0) } else { format!("FAIL\t{id}\n") };
        if !say(&verdict) {
            return;
        }
    }
}
