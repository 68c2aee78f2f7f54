use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn secret() -> SecretSlice<u8> {
    SecretSlice::from(b"key".to_vec())
}

/// A receiver at `url`, where `allow` is listed and every name has the addresses that `names` gives.
fn receiver(url: &str, allow: &[&str], may_be_local: bool, names: &[&str]) -> Receiver {
    let outbound = Outbound { allow: allow.iter().map(|net| net.parse().unwrap()).collect() };
    let names: Vec<IpAddr> = names.iter().map(|name| name.parse().unwrap()).collect();
    let look_up: LookUp = Arc::new(move |_| {
        let names = names.clone();
        Box::pin(async move { Ok(names) })
    });
    let none = SecretFile::Path("/nowhere".into());
    let spec = ReceiverSpec {
        url,
        secret_file: &none,
        outbound: &outbound,
        may_be_local,
        timeout: Duration::from_secs(10),
    };
    Receiver::with(&spec, secret(), look_up).unwrap()
}

/// Listens on this machine and answers every request with `answer`. Returns the port, and the number of connections so far.
fn listener(answer: impl Into<Vec<u8>>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let answer = answer.into();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&answer);
        }
    });
    (port, taken)
}

const TAKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

/// A name that an attacker owns leads to this machine, or to the metadata service of a cloud.
#[tokio::test]
async fn a_name_that_leads_inside_reaches_nothing() {
    let (port, taken) = listener(TAKEN);
    for scheme in ["http", "https"] {
        for inside in
            ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "169.254.169.254"]
        {
            let url = format!("{scheme}://hooks.example.org:{port}/");
            // A public address beside it is the only one that would be tried.
            let error = receiver(&url, &[], false, &[inside]).tell(Vec::new(), &[], NOW).await.unwrap_err();
            assert!(error.to_string().contains("which is not public"), "{inside}: {error}");
        }
    }
    assert_eq!(taken.load(Ordering::SeqCst), 0);
    // The name of this machine is given to alerts by itself, and so not to another name that leads there.
    let url = format!("http://hooks.example.org:{port}/");
    assert!(receiver(&url, &[], true, &["127.0.0.1"]).tell(Vec::new(), &[], NOW).await.is_err());
    assert_eq!(taken.load(Ordering::SeqCst), 0);
    let listed = receiver(&url, &["127.0.0.1/32"], false, &["127.0.0.1"]);
    assert_eq!(listed.tell(Vec::new(), &[], NOW).await.unwrap().status, 200);
    let local = receiver(&format!("http://localhost:{port}/"), &[], true, &["127.0.0.1"]);
    assert_eq!(local.tell(Vec::new(), &[], NOW).await.unwrap().status, 200);
    assert_eq!(taken.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn of_several_addresses_only_those_that_are_permitted_are_tried() {
    let (port, _) = listener(TAKEN);
    let url = format!("http://hooks.example.org:{port}/");
    let mixed = receiver(&url, &["127.0.0.0/8"], false, &["10.0.0.1", "169.254.169.254", "127.0.0.1"]);
    assert_eq!(mixed.permitted.addresses("x").await.unwrap(), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(mixed.tell(Vec::new(), &[], NOW).await.unwrap().status, 200);
    assert!(mixed.connect(Duration::from_secs(5)).await.is_ok());
}

/// An address needs no look-up, so the look-up is not what refuses it.
#[tokio::test]
async fn a_host_that_is_an_address_is_checked_however_it_is_spelled() {
    let (port, taken) = listener(TAKEN);
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "127.1", "[::1]"] {
        let inside = receiver(&format!("http://{host}:{port}/"), &[], false, &[]);
        let error = inside.tell(Vec::new(), &[], NOW).await.unwrap_err().to_string();
        assert!(error.contains("which is not public"), "{host}: {error}");
        let unreached = inside.connect(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(unreached.step, super::probe::Step::Permission, "{host}");
    }
    let plain = receiver("http://8.8.8.8/", &[], false, &[]).tell(Vec::new(), &[], NOW).await;
    assert!(plain.unwrap_err().to_string().contains("by https:// only"));
    assert_eq!(taken.load(Ordering::SeqCst), 0);
}

/// A receiver outside sends the server on to a place inside.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (inside, taken) = listener(TAKEN);
    let to = format!(
        "HTTP/1.1 307 x\r\nlocation: http://127.0.0.1:{inside}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let (port, _) = listener(to);
    let receiver = receiver(&format!("http://127.0.0.1:{port}/"), &["127.0.0.1/32"], false, &[]);
    let answer = receiver.ask(Vec::new(), &[], NOW).await.unwrap();
    assert_eq!(answer.status, 307);
    assert!(!answer.is_success());
    assert_eq!(taken.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_answer_is_read_to_a_bound_and_its_signature_checked() {
    let signed = signature::answer_header(b"key", "7f", b"{}", NOW);
    let (port, _) = listener(format!(
        "HTTP/1.1 200 OK\r\nPortcullis-Signature: {signed}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
    ));
    let ask = async |port: u16| {
        let receiver = receiver(&format!("http://127.0.0.1:{port}/"), &["127.0.0.1/32"], false, &[]);
        let answer = receiver.ask(b"{}".to_vec(), &[], NOW).await;
        answer.map(|answer| (receiver.is_answer_to(&answer, "7f", NOW), answer.body))
    };
    assert_eq!(ask(port).await.unwrap(), (true, b"{}".to_vec()));
    let (port, _) = listener(TAKEN);
    assert_eq!(ask(port).await.unwrap(), (false, b"{}".to_vec()));
    for length in [ANSWER_BYTES_MAX, ANSWER_BYTES_MAX + 1, 10 << 20] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        let (port, _) = listener([head.into_bytes(), vec![b' '; length]].concat());
        let asked = ask(port).await;
        assert_eq!(asked.is_ok(), length == ANSWER_BYTES_MAX, "{length}: {:?}", asked.err());
    }
}

/// Kind: an error that names neither where nor why.
#[tokio::test]
async fn a_receiver_that_is_not_there_is_named_with_the_cause_and_without_the_path() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let receiver = receiver(&format!("http://user:word@{dead}/hook/of-secret-path"), &[], true, &[]);
    let said = receiver.tell(Vec::new(), &[], NOW).await.unwrap_err().to_string();
    assert!(said.contains(&format!("{dead}: Connection refused")), "{said}");
    assert!(!said.contains("secret-path") && !said.contains("word"), "{said}");
    assert_eq!(format!("{receiver:?}"), format!("Receiver({dead})"));
}

/// A receiver answers with a line that has no end, in the head or in the body. The body is not read at all.
#[tokio::test]
async fn an_answer_without_an_end_is_not_kept() {
    const MANY: usize = 64 << 20;
    const BUFFERS: usize = 16 << 20;
    for (start, is_answer) in [
        ("HTTP/1.1 200 OK\r\nx-a: ", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n", true),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let answering = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(start.as_bytes());
            let mut taken = 0;
            while taken < MANY && stream.write_all(&[b'A'; 8192]).is_ok() {
                taken += 8192;
            }
            taken
        });
        let receiver = receiver(&url, &[], true, &[]);
        let sent = receiver.tell(b"{}".to_vec(), &[], NOW).await;
        assert_eq!(sent.is_ok(), is_answer, "{sent:?}");
        drop(receiver);
        let taken = tokio::task::spawn_blocking(move || answering.join().unwrap()).await.unwrap();
        assert!(taken < BUFFERS, "{taken}");
    }
}
