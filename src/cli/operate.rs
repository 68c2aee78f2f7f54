//! How an operator's command is carried out: through the admin socket of a running server, or else on the data
//! directory of a stopped one.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use portcullis::config::Config;
use portcullis::engine::Engine;
use portcullis::server;
use portcullis::server::operator::operation::Operation;
use portcullis::server::operator::socket;
use portcullis::system::clock::Clock;
use portcullis::system::fail_stop::FailStop;
use serde_json::Value;
use zeroize::Zeroizing;

use super::doctor::ownership::refuse_another_owner;
use super::new_directory::refuse_backup;
use super::{Cli, Failure, say};

/// Maximum length of an answer in bytes. Hundreds of thousands of lines of the audit log are shorter.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Carries out `operation` and prints its answer: as JSON for programs, or else the lines that `told` makes of it.
pub(super) fn operate_and_say(
    cli: &Cli,
    operation: Operation,
    told: impl FnOnce(&Value) -> Vec<String>,
) -> Result<(), Failure> {
    let result = carry_out(cli.load()?, operation)?;
    if cli.json {
        say(&result.to_string());
    } else {
        for line in told(&result) {
            say(&line);
        }
    }
    // What the command was to do is half done, and a script must learn of it.
    if result.get("mail_refused").and_then(Value::as_bool) == Some(true) {
        let why = result.get("mail").and_then(Value::as_str).unwrap_or_default();
        return Err(Failure::refused(format!("the mail was {why}")));
    }
    Ok(())
}

/// Carries out `operation` and returns its result.
pub(super) fn carry_out(config: Config, operation: Operation) -> Result<Value, Failure> {
    let answer = match connect(&config)? {
        Some(stream) => ask(stream, &operation)?,
        None => on_stopped_directory(config, async |engine| {
            socket::run(engine, rustix::process::geteuid().as_raw(), operation).await
        })?,
    };
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        return Err(Failure::refused(error));
    }
    Ok(answer.get("ok").cloned().unwrap_or(Value::Null))
}

/// Connects to the running server; `None` if none runs.
fn connect(config: &Config) -> Result<Option<UnixStream>, Failure> {
    match socket::connect(&config.data_dir) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Failure::refused(format!(
            "{}: {error}; run this as the user that owns {}",
            socket::path(&config.data_dir).display(),
            config.data_dir.display()
        ))),
        Err(_) => Ok(None),
    }
}

/// Runs `talk` with a connection to the running server, or to the data directory of a stopped one as if it ran.
pub(super) fn converse<T: Send + 'static>(
    config: Config,
    talk: impl FnOnce(UnixStream) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    if let Some(stream) = connect(&config)? {
        return talk(stream);
    }
    let talking = on_stopped_directory(config, async |engine| {
        let (near, far) = UnixStream::pair()?;
        far.set_nonblocking(true)?;
        let talking = std::thread::Builder::new().name(String::from("command")).spawn(|| talk(near))?;
        // The command at the other end of the pair is told of an error, so it needs no handling here.
        let _ = socket::answer(engine, tokio::net::UnixStream::from_std(far)?).await;
        Ok::<_, std::io::Error>(talking)
    })?;
    let talked = talking.map_err(Failure::refused)?.join();
    talked.unwrap_or_else(|_| Err(Failure::fault("the command has panicked")))
}

/// Sends `operation` to the server at the other end of `stream` and returns its answer.
pub(super) fn ask(mut stream: UnixStream, operation: &Operation) -> Result<Value, Failure> {
    let lost =
        |error: &dyn std::fmt::Display| Failure::no_answer(format!("the server does not answer: {error}"));
    // It may hold a password.
    let text = Zeroizing::new(serde_json::to_string(operation).map_err(Failure::fault)? + "\n");
    stream.write_all(text.as_bytes()).map_err(|error| lost(&error))?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut answer).map_err(|error| lost(&error))?;
    if !answer.ends_with('\n') {
        return Err(lost(&"its answer has no end, or is longer than 64 MiB"));
    }
    serde_json::from_str(&answer).map_err(|error| lost(&error))
}

/// Recovers the data directory, which no server uses, does `work` on it, and stops in order.
fn on_stopped_directory<T>(config: Config, work: impl AsyncFnOnce(&Arc<Engine>) -> T) -> Result<T, Failure> {
    refuse_backup(&config.data_dir)?;
    let identity = config.data_dir.join("IDENTITY");
    let unreadable = |error| Failure::refused(format!("cannot read {}: {error}", identity.display()));
    if !identity.try_exists().map_err(unreadable)? {
        return Err(Failure::no_answer(format!(
            "no server answers, and {} holds nothing yet: start one with portcullis serve, or name its --data-dir",
            config.data_dir.display()
        )));
    }
    refuse_another_owner(&config)?;
    actix_web::rt::System::new().block_on(async {
        let fail_stop = FailStop::new(|why| {
            let _ = writeln!(std::io::stderr(), "portcullis: fault, the process ends: {why}");
            std::process::exit(70);
        });
        let (engine, running) = server::start_for_command(config, Clock::system(), &fail_stop)?;
        let done = work(&engine).await;
        drop(engine);
        running.stop();
        Ok(done)
    })
}
