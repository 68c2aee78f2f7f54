//! An import by the program that embeds the engine.

use std::time::Duration;

use super::lines::{Groups, Line};
use super::report::{Counts, Outcome, Refused, Report};
use super::{How, Import};
use crate::flow::admin::facade::Accounts;
use crate::flow::refusal::Error;
use crate::value::id::AccountId;

/// The most lines that a report describes.
const LINES_MAX: usize = 1000;

/// How an import judges its lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportOptions(How);

impl ImportOptions {
    /// Creates the accounts. An address counts as proved where a line says so.
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges every line, and changes nothing.
    #[must_use]
    pub const fn dry_run(mut self) -> Self {
        self.0.is_dry = true;
        self
    }

    /// Counts addresses as proved where a line does not say.
    #[must_use]
    pub const fn verified(mut self) -> Self {
        self.0.is_verified = true;
        self
    }
}

/// The result of an import: counts of its lines, and the lines that gave no account.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ImportReport {
    /// Lines that gave an account; in a dry run, that would give one.
    pub created: u64,
    /// Lines whose account is there from before: the same lines were imported already.
    pub same: u64,
    /// Lines of which another account has the address, the id or the external id: their users have no account.
    pub taken: u64,
    /// Lines whose id or external id is there with another address: the user has another one there by now, and the account
    /// has that of before.
    pub moved: u64,
    /// Lines that are wrong.
    pub refused: u64,
    /// The first thousand lines that gave no account.
    pub lines: Vec<ImportedLine>,
    /// How many more there are.
    pub not_shown: u64,
    /// The work of a log-in before and after the import, in KiB that argon2id fills; `None` if it has not grown.
    pub log_in_kib: Option<(u64, u64)>,
    /// How long it takes afterwards on this machine, if it takes longer and a hash was measured.
    pub log_in_time: Option<Duration>,
}

/// A line that gave no account.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImportedLine {
    /// Its number, from 1 on.
    pub number: u64,
    /// The external id that it gives, or else the id.
    pub external_id: Option<String>,
    /// The field, as the path in the line (`/password_hash`), or the name of what another account has; empty for the whole
    /// line.
    pub field: String,
    /// The kind of fault, such as `invalid_hash`; `None` if another account has what no two have.
    pub code: Option<&'static str>,
    /// The account that has it.
    pub account: Option<AccountId>,
    /// The earlier line that has it too.
    pub earlier: Option<u64>,
    /// Whether the account is that of the same line, so that the user is there.
    pub is_same: bool,
    /// The reason, for people. It holds no value of the line.
    pub why: String,
}

impl From<Report> for ImportedLine {
    fn from(report: Report) -> Self {
        let (number, why) = (report.line, report.why().into_owned());
        let external_id = report.external_id.map(Into::into);
        match report.outcome {
            Outcome::Duplicate { what, by: account, earlier, is_same } => {
                let field = what.field().to_owned();
                Self { number, external_id, field, code: None, account, earlier, is_same, why }
            }
            Outcome::Refused(Refused { pointer: field, code, .. }) => Self {
                number,
                external_id,
                field,
                code: Some(code),
                account: None,
                earlier: None,
                is_same: false,
                why,
            },
        }
    }
}

impl ImportReport {
    fn add(&mut self, reports: Vec<Report>) {
        for report in reports {
            if self.lines.len() < LINES_MAX {
                self.lines.push(report.into());
            } else {
                self.not_shown += 1;
            }
        }
    }
}

impl Accounts<'_> {
    /// Creates the accounts of another system, with the hashes of their passwords. Each line is an object of JSON, in the form
    /// that `POST /v1/admin/users/import` takes ([`api_reference`](crate::api_reference)); the form of a dump is that of
    /// `portcullis user import --format`, which makes such lines of it.
    ///
    /// A line becomes an account as a whole, or is refused by its number, its field and the reason; the others go on. An account
    /// that is there is never changed, so an import that was cut is repeated. `lines` is asked for the next ones while the last
    /// ones are stored, and a thousand of them are in memory: it may read a file, on the thread that awaits this.
    ///
    /// ```
    /// use actix_web::{App, test};
    /// use portcullis::{Config, Engine, ImportOptions, actix};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = std::env::temp_dir().join(format!("portcullis-import-{}", std::process::id()));
    /// let auth = Engine::start(Config::builder().data_dir(&dir).build()?).await?;
    ///
    /// let users = r#"
    /// {"email":"ada@example.org","email_verified":true,"password_hash":"$2a$04$De5TgKQ4VCpb0tCR0/OC6eVWeySM7rIaviM8QKtX65wxSmiMKhN7y"}
    /// {"email":"bob@example.org","email_verified":true,"password_hash":"$2b$04$SHL6bLlb5aJqelGbWdFoK.4cN.zmrJYebQ.sx4n.Qe06FmbN1uyk2"}
    /// {"email":"eve@example.org","email_verified":true,"password_hash":"$2y$04$Izl7rlHZm8lNylKpm6dIM.rx5j6gmvy1LkLmu67xfkn8LsM5arT46"}
    /// "#;
    /// let lines = || users.trim().lines();
    /// let judged = auth.accounts().import(lines(), ImportOptions::new().dry_run()).await?;
    /// assert_eq!((judged.created, judged.refused), (3, 0));
    /// let report = auth.accounts().import(lines(), ImportOptions::new()).await?;
    /// assert_eq!((report.created, report.refused), (3, 0));
    ///
    /// // Each logs in with the password of there, whose hash argon2id replaces then.
    /// let app = test::init_service(App::new().configure(actix::mount("/auth", &auth))).await;
    /// for name in ["ada", "bob", "eve"] {
    ///     let log_in = format!(r#"{{"email":"{name}@example.org","password":"correct horse battery staple"}}"#);
    ///     let log_in = test::TestRequest::post().uri("/auth/v1/login").set_payload(log_in);
    ///     let log_in = log_in.insert_header(("content-type", "application/json")).to_request();
    ///     assert_eq!(test::call_service(&app, log_in).await.status(), 200);
    /// }
    ///
    /// // The same lines again create no second account, and bring no former hash back.
    /// let again = auth.accounts().import(lines(), ImportOptions::new()).await?;
    /// assert_eq!((again.created, again.refused, again.lines.len()), (0, 0, 3));
    ///
    /// auth.stop().await;
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Every user is there afterwards if `taken`, `moved` and `refused` are 0: the rule by which the command ends with 0.
    ///
    /// Errors: another import is at work; the log of security events or the journal takes nothing. What was taken until then
    /// stays. One that is dropped in the middle is cut in the same way.
    pub async fn import(
        &self,
        lines: impl IntoIterator<Item = impl AsRef<[u8]>>,
        options: ImportOptions,
    ) -> Result<ImportReport, Error> {
        let ImportOptions(how) = options;
        let begun = self.run(async move |engine, admin| Import::begin(engine, admin, how).await);
        let mut import = begun.await?;
        let mut report = ImportReport::default();
        let mut groups = Groups::default();
        for line in lines {
            let line = line.as_ref();
            groups.feed(line.strip_suffix(b"\n").unwrap_or(line));
            groups.feed(b"\n");
            while let Some(group) = groups.full() {
                import = self.take(import, group, &mut report).await?;
            }
        }
        groups.end();
        while let Some(group) = groups.rest() {
            import = self.take(import, group, &mut report).await?;
        }
        let counts = self.run(async move |_, _| import.finish().await).await?;
        let log_in_kib = counts.log_in.map(|grown| (grown.before_kib, grown.after_kib));
        let log_in_time = counts.log_in.and_then(|grown| grown.after).map(|(time, _)| time);
        let Counts { created, same, taken, moved, refused, .. } = counts;
        Ok(ImportReport { created, same, taken, moved, refused, log_in_kib, log_in_time, ..report })
    }

    /// Takes a group of lines on the thread of the actors.
    async fn take(
        &self,
        mut import: Import,
        group: Vec<Line>,
        report: &mut ImportReport,
    ) -> Result<Import, Error> {
        let taken = self.run(async move |_, _| {
            let reports = import.take(group).await?;
            Ok((import, reports))
        });
        let (import, reports) = taken.await?;
        report.add(reports);
        Ok(import)
    }
}
