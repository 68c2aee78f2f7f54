//! Macros that write the mailbox of a registry: one line for each message.

/// Implements the handlers of messages that decide something. Each line names the message, the type of its answer, the
/// class of journal space that its writes may take, and the pure rule:
///
/// `Message => Answer, Class, |state, message, now| decision;`
///
/// `by(|message| class)` in place of the class computes it from the message. `tell |message, answer| event` names an event
/// that the answer shows and the writes do not, and `after |state, message, answer, now| ()` notes in memory what needs no
/// journal; it runs once the writes are applied.
macro_rules! handles {
    ($state:ty {
        $($message:ty => $verdict:ty, $class:ident $(($class_of:expr))?, $decide:expr
            $(, tell $tell:expr)? $(, after $note:expr)?;)*
    }) => {
        $(
            impl actix::Message for $message {
                type Result = $crate::registry::Answer<$verdict>;
            }
            impl actix::Handler<$message> for $crate::registry::Owner<$state> {
                type Result = actix::MessageResult<$message>;
                fn handle(&mut self, message: $message, _: &mut actix::Context<Self>) -> Self::Result {
                    let decide: fn(&$state, $message, $crate::system::clock::Timestamp) -> _ = $decide;
                    let class = $crate::registry::handles!(@class $class, message, $message $(, $class_of)?);
                    actix::MessageResult($crate::registry::handles!(
                        @decide self, class, decide, message, $state, $message, $verdict $(, tell $tell)? $(, after $note)?
                    ))
                }
            }
        )*
    };
    (@class by, $message:ident, $type:ty, $class_of:expr) => {{
        let class_of: fn(&$type) -> $crate::journal::append::handle::Class = $class_of;
        class_of(&$message)
    }};
    (@class $class:ident, $message:ident, $type:ty) => {
        $crate::journal::append::handle::Class::$class
    };
    (@decide $owner:ident, $class:ident, $decide:ident, $message:ident, $state:ty, $type:ty, $verdict:ty) => {
        $owner.decide($class, |state, now| $decide(state, $message, now))
    };
    (
        @decide $owner:ident, $class:ident, $decide:ident, $message:ident, $state:ty, $type:ty, $verdict:ty,
        after $note:expr
    ) => {
        $crate::registry::handles!(
            @decide $owner, $class, $decide, $message, $state, $type, $verdict, tell |_, _| None, after $note
        )
    };
    (
        @decide $owner:ident, $class:ident, $decide:ident, $message:ident, $state:ty, $type:ty, $verdict:ty, tell $tell:expr,
        after $note:expr
    ) => {{
        let tell: fn(&$type, &$verdict) -> Option<$crate::registry::event::Told> = $tell;
        let note: fn(&mut $state, &$type, &$verdict, $crate::system::clock::Timestamp) = $note;
        let noted = $message.clone();
        $owner.decide_and_tell(
            $class,
            |state, now| $decide(state, $message, now),
            |verdict| tell(&noted, verdict),
            |state, verdict, now| note(state, &noted, verdict, now),
        )
    }};
}

/// Implements the handlers of messages that only read: `Message => Answer, |state, message, now| answer;`. A message
/// that reads a single record names its key, so that the answer waits for the writes of that record alone: `Message, of
/// |message| key => Answer, …`.
macro_rules! reads {
    ($state:ty { $($command:ty $(, of $key:expr)? => $verdict:ty, $read:expr;)* }) => {
        $(
            impl actix::Message for $command {
                type Result = $crate::registry::Answer<$verdict>;
            }
            impl actix::Handler<$command> for $crate::registry::Owner<$state> {
                type Result = actix::MessageResult<$command>;
                fn handle(&mut self, command: $command, _: &mut actix::Context<Self>) -> Self::Result {
                    let read: fn(&$state, $command, $crate::system::clock::Timestamp) -> $verdict = $read;
                    actix::MessageResult($crate::registry::reads!(@ self, read, command $(, $command, $key)?))
                }
            }
        )*
    };
    (@ $owner:expr, $read:expr, $command:expr) => {
        $owner.read(|state, now| $read(state, $command, now))
    };
    (@ $owner:expr, $read:expr, $command:expr, $type:ty, $key:expr) => {{
        let key: fn(&$type) -> [u8; 16] = $key;
        let key = key(&$command);
        $owner.read_of(&key, |state, now| $read(state, $command, now))
    }};
}

/// Implements [`Registry`](crate::registry::Registry) for a state, by its own functions of the same names.
macro_rules! registry {
    (
        $state:ty, $record:ty, $name:literal
        $(, revokes $revoked:expr)? $(, tells $told:expr)? $(, pauses $paused:expr)? $(, overdue $overdue:expr)?
    ) => {
        impl $crate::registry::Registry for $state {
            type Record = $record;
            const NAME: &'static str = $name;
            fn apply(&mut self, write: $crate::registry::record::Write<$record>) {
                <$state>::apply(self, write);
            }
            fn buckets(&self) -> &$crate::registry::buckets::Buckets<[u8; 16], $record> {
                <$state>::buckets(self)
            }
            fn is_sound(record: &$record) -> bool {
                record.is_sound()
            }
            fn sweep(&mut self, bucket: usize, now: $crate::system::clock::Timestamp) -> usize {
                <$state>::sweep(self, bucket, now)
            }
            $(
                fn revoked_by(
                    &self,
                    write: &$crate::registry::record::Write<$record>,
                ) -> Option<$crate::registry::Revocation> {
                    $revoked(self, write)
                }
            )?
            $(
                fn events_of(
                    &self,
                    writes: &[$crate::registry::record::Write<$record>],
                ) -> Vec<$crate::registry::event::Told> {
                    $told(self, writes)
                }
            )?
            $(
                fn note_pause(
                    &mut self,
                    from: $crate::system::clock::Timestamp,
                    to: $crate::system::clock::Timestamp,
                ) {
                    $paused(self, from, to);
                }
            )?
            $(
                fn overdue(
                    &self,
                    now: $crate::system::clock::Timestamp,
                ) -> Vec<$crate::registry::record::Write<$record>> {
                    $overdue(self, now)
                }
            )?
        }
    };
}

pub(crate) use {handles, reads, registry};
