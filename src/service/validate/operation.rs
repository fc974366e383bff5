//! What may stand in a write, alone or as a step of a batch.

use bytes::Bytes;

use super::entry::{OPERATIONS, PREFIX, view_or};
use super::{At, Problems};
use crate::model::{KEY_BYTES_MAX, Key, VALUE_BYTES_HARD_MAX, Version};
use crate::service::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX};
use crate::store::{Command, Condition, Expiration, View};
use crate::wire::v1 as wire;
use crate::wire::v1::ErrorReason;

/// Whether `if_absent` makes sense where a condition stands.
#[derive(Clone, Copy)]
enum Absent {
    Allowed,
    Refused,
}

impl Problems {
    pub(super) fn key(&mut self, text: String, at: At<'_>) -> Option<Key> {
        match Key::parse(text) {
            Ok(key) => Some(key),
            Err(error) => self.add(at, ErrorReason::KeyInvalid, error),
        }
    }

    pub(super) fn prefix(&mut self, prefix: &str) {
        self.no_longer_than_a_key(prefix, PREFIX);
    }

    pub(super) fn no_longer_than_a_key(&mut self, text: &str, at: At<'_>) {
        if text.len() > KEY_BYTES_MAX {
            let text = format!("must be at most {KEY_BYTES_MAX} bytes, as long as a key can be");
            self.add::<()>(at, ErrorReason::KeyInvalid, text);
        }
    }

    pub(super) fn items(&mut self, count: usize, at: At<'_>) {
        if count == 0 || count > BATCH_ITEMS_MAX {
            let text = format!("must have 1 to {BATCH_ITEMS_MAX} items, this has {count}");
            let limit = vec![("limit", BATCH_ITEMS_MAX.to_string())];
            self.add_with::<()>(at, ErrorReason::BatchTooLarge, text, limit);
        }
    }

    pub(super) fn batch_bytes(&mut self, steps: &[wire::WriteOperation]) {
        let bytes = operations_bytes(steps);
        if bytes > BATCH_BYTES_MAX {
            let text = format!("must have at most {BATCH_BYTES_MAX} bytes, this has {bytes}");
            let limit = vec![("limit", BATCH_BYTES_MAX.to_string())];
            self.add_with::<()>(OPERATIONS, ErrorReason::BatchTooLarge, text, limit);
        }
    }

    fn value(&mut self, value: Bytes, at: At<'_>) -> Option<Bytes> {
        let bytes = value.len();
        if bytes <= VALUE_BYTES_HARD_MAX {
            return Some(value);
        }
        let text = format!("must be at most {VALUE_BYTES_HARD_MAX} bytes, this has {bytes}");
        let limit = ("limit_bytes", VALUE_BYTES_HARD_MAX.to_string());
        let sizes = vec![limit, ("size_bytes", bytes.to_string())];
        self.add_with(at, ErrorReason::ValueTooLarge, text, sizes)
    }

    pub(super) fn set(&mut self, request: wire::SetRequest, at: At<'_>) -> Option<Command> {
        let key = self.key(request.key, at.field("key"));
        let value = self.value(request.value, at.field("value"));
        let expiration = self.expiration(request.expiration, at);
        let condition = self.condition(request.condition, at, Absent::Allowed);
        Some(Command::Set {
            key: key?,
            value: value?,
            expiration: expiration?,
            condition: condition?,
            return_previous: request.return_previous,
        })
    }

    pub(super) fn delete(&mut self, request: wire::DeleteRequest, at: At<'_>) -> Option<Command> {
        let key = self.key(request.key, at.field("key"));
        let condition = self.condition(request.condition, at, Absent::Refused);
        Some(Command::Delete {
            key: key?,
            condition: condition?,
            return_previous: request.return_previous,
        })
    }

    pub(super) fn touch(&mut self, request: wire::TouchRequest, at: At<'_>) -> Option<Command> {
        let key = self.key(request.key, at.field("key"));
        let expiration = self.expiration(request.expiration, at);
        let condition = self.condition(request.condition, at, Absent::Refused);
        let view = view_or(request.view, View::Metadata);
        Some(Command::Touch { key: key?, expiration: expiration?, condition: condition?, view })
    }

    pub(super) fn increment(
        &mut self,
        request: wire::IncrementRequest,
        at: At<'_>,
    ) -> Option<Command> {
        let key = self.key(request.key, at.field("key"));
        let expiration = self.expiration(request.expiration, at);
        Some(Command::Increment {
            key: key?,
            delta: request.delta.unwrap_or(1),
            initial: request.initial_value,
            lower_bound: request.lower_bound,
            upper_bound: request.upper_bound,
            expiration: expiration?,
            refresh_expiration: request.refresh_expiration,
        })
    }

    fn check(&mut self, request: wire::CheckOperation, at: At<'_>) -> Option<Command> {
        let key = self.key(request.key, at.field("key"));
        let condition = match request.condition {
            Some(condition) => self.condition(Some(condition), at, Absent::Allowed),
            None => self.add(at.field("condition"), ErrorReason::ConditionInvalid, "must be set"),
        };
        Some(Command::Check { key: key?, condition: condition?? })
    }

    pub(super) fn operation(
        &mut self,
        step: wire::WriteOperation,
        at: At<'_>,
        batch_namespace: &str,
    ) -> Option<Command> {
        use wire::write_operation::Operation;
        let Some(operation) = step.operation else {
            return self.add(at, ErrorReason::OperationMissing, "must have an operation");
        };
        match operation {
            Operation::Set(request) => {
                self.same_namespace(&request.namespace, at.field("set"), batch_namespace);
                self.set(request, at.field("set"))
            }
            Operation::Delete(request) => {
                self.same_namespace(&request.namespace, at.field("delete"), batch_namespace);
                self.delete(request, at.field("delete"))
            }
            Operation::Touch(request) => {
                self.same_namespace(&request.namespace, at.field("touch"), batch_namespace);
                self.touch(request, at.field("touch"))
            }
            Operation::Increment(request) => {
                self.same_namespace(&request.namespace, at.field("increment"), batch_namespace);
                self.increment(request, at.field("increment"))
            }
            Operation::Check(request) => self.check(request, at.field("check")),
        }
    }

    fn same_namespace(&mut self, named: &str, at: At<'_>, batch: &str) {
        if !named.is_empty() && named != batch {
            let text = "must be empty or the batch's own";
            self.add::<()>(at.field("namespace"), ErrorReason::NamespaceMismatch, text);
        }
    }

    fn expiration(&mut self, wire: Option<wire::Expiration>, at: At<'_>) -> Option<Expiration> {
        use wire::expiration::Policy;
        const REASON: ErrorReason = ErrorReason::ExpirationInvalid;
        let Some(expiration) = wire else { return Some(Expiration::Default) };
        let at = at.field("expiration");
        match expiration.policy {
            Some(Policy::Ttl(ttl)) => {
                self.ttl(&ttl, at.field("ttl"), REASON).map(Expiration::After)
            }
            Some(Policy::ExpireTime(moment)) => {
                self.moment(&moment, at.field("expire_time"), REASON).map(Expiration::At)
            }
            Some(Policy::Never(true)) => Some(Expiration::Never),
            Some(Policy::Keep(true)) => Some(Expiration::Keep),
            Some(Policy::Never(false)) => self.add(at.field("never"), REASON, MUST_BE_TRUE),
            Some(Policy::Keep(false)) => self.add(at.field("keep"), REASON, MUST_BE_TRUE),
            None => self.add(at, REASON, "must say when; leave it out for the default"),
        }
    }

    /// The outer `None`: a problem; the inner one: no condition.
    #[expect(clippy::option_option, reason = "a problem and no condition are different things")]
    fn condition(
        &mut self,
        wire: Option<wire::Condition>,
        at: At<'_>,
        absent: Absent,
    ) -> Option<Option<Condition>> {
        use wire::condition::Test;
        const REASON: ErrorReason = ErrorReason::ConditionInvalid;
        let Some(condition) = wire else { return Some(None) };
        let at = at.field("condition");
        let test = match (condition.test, absent) {
            (Some(Test::IfAbsent(true)), Absent::Allowed) => Some(Condition::Absent),
            (Some(Test::IfAbsent(_)), Absent::Refused) => {
                self.add(at.field("if_absent"), REASON, "is not allowed here")
            }
            (Some(Test::IfPresent(true)), _) => Some(Condition::Present),
            (Some(Test::IfVersion(version)), _) => self.version(version, at.field("if_version")),
            (Some(Test::IfAbsent(false)), Absent::Allowed) => {
                self.add(at.field("if_absent"), REASON, MUST_BE_TRUE)
            }
            (Some(Test::IfPresent(false)), _) => {
                self.add(at.field("if_present"), REASON, MUST_BE_TRUE)
            }
            (None, _) => self.add(at, REASON, "must have a test"),
        };
        test.map(Some)
    }

    fn version(&mut self, version: i64, at: At<'_>) -> Option<Condition> {
        match u64::try_from(version).map(Version) {
            Ok(version) if version > Version(0) && version <= Version::MAX => {
                Some(Condition::Version(version))
            }
            Ok(_) | Err(_) => {
                self.add(at, ErrorReason::ConditionInvalid, "must be the version of an entry")
            }
        }
    }
}

const MUST_BE_TRUE: &str = "must be true";

/// Bytes of the keys and values of a batch.
pub(crate) fn operations_bytes(steps: &[wire::WriteOperation]) -> usize {
    steps.iter().map(step_bytes).sum()
}

/// What an operation adds to the size of its batch.
fn step_bytes(step: &wire::WriteOperation) -> usize {
    use wire::write_operation::Operation;
    match &step.operation {
        None => 0,
        Some(Operation::Set(request)) => request.key.len() + request.value.len(),
        Some(Operation::Delete(request)) => request.key.len(),
        Some(Operation::Touch(request)) => request.key.len(),
        Some(Operation::Increment(request)) => request.key.len(),
        Some(Operation::Check(request)) => request.key.len(),
    }
}
