//! Where the entries of a log go, and which of them go nowhere.

use std::collections::HashMap;

use super::args::Import;
use super::line::{Expiry, Problem};
use super::replay::{Kept, is_live};
use super::report::Report;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome, printable};
use crate::model::{NamespaceName, UnixMillis};

/// An entry on its way into a namespace of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The line that wrote it.
    pub(super) line: u64,
    pub(super) namespace: NamespaceName,
    pub(super) key: String,
    pub(super) value: String,
    pub(super) expiry: Expiry,
}

/// The targets of `entries`, in their order; what goes nowhere is in `report`. `now`: the present
/// moment, if that is known.
pub(super) fn targets(
    entries: Vec<Kept>,
    args: &Import,
    now: Option<UnixMillis>,
    report: &mut Report,
) -> Outcome<Vec<Target>> {
    let unnamed = NamespaceName::parse(&args.namespace).map_err(|error| {
        let name = printable(&args.namespace);
        Failure::new(Exit::Usage, format!("the namespace \"{name}\" {error}"))
    })?;
    // Two places of the log can be one here only where one of them had no namespace.
    let mut taken: HashMap<String, usize, ahash::RandomState> = HashMap::default();
    let mut targets: Vec<Option<Target>> = Vec::with_capacity(entries.len());
    for kept in entries {
        if now.is_some_and(|now| !is_live(&kept, now)) {
            report.expired += 1;
            continue;
        }
        let Kept { line, place, value, expiry } = kept;
        let namespace = match &place.namespace {
            None => unnamed.clone(),
            Some(name) => match NamespaceName::parse(&format!("{}{name}", args.namespace_prefix)) {
                Ok(name) => name,
                Err(error) => {
                    report.problem(line, &Problem::Namespace(error))?;
                    continue;
                }
            },
        };
        if namespace == unnamed
            && let Some(earlier) = taken.insert(place.key.clone(), targets.len())
            && let Some(earlier) = targets.get_mut(earlier).and_then(Option::take)
        {
            report.problem(earlier.line, &Problem::WrittenAgain(line))?;
        }
        targets.push(Some(Target { line, namespace, key: place.key, value, expiry }));
    }
    Ok(targets.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::cli::import::line::Place;
    use crate::cli::output::Output;

    fn kept(line: u64, namespace: Option<&str>, key: &str, expiry: Expiry) -> Kept {
        let place = Place { namespace: namespace.map(str::to_owned), key: key.to_owned() };
        Kept { line, place, value: line.to_string(), expiry }
    }

    fn args(namespace: &str, prefix: &str) -> Import {
        Import {
            pykv_log: PathBuf::new(),
            namespace: namespace.to_owned(),
            namespace_prefix: prefix.to_owned(),
            dry_run: true,
        }
    }

    /// Where these go, as "namespace/key", and how many went nowhere: unusable, expired.
    fn check(entries: Vec<Kept>, args: &Import, expected: &[&str], nowhere: (u64, u64)) {
        let mut report = Report::new(Output::Text);
        let now = Some(UnixMillis::from_millis(1000));
        let targets = targets(entries, args, now, &mut report).unwrap();
        let name = |target: &Target| format!("{}/{}", target.namespace, target.key);
        assert_eq!(targets.iter().map(name).collect::<Vec<_>>(), expected);
        assert_eq!((report.unusable, report.expired), nowhere);
    }

    #[test]
    fn entries_go_where_their_namespace_and_the_flags_say() {
        let never = Expiry::Never;
        let entries = || vec![kept(1, None, "k", never), kept(2, Some("a"), "k", never)];
        check(entries(), &args("default", ""), &["default/k", "a/k"], (0, 0));
        check(entries(), &args("old", "old."), &["old/k", "old.a/k"], (0, 0));
        check(entries(), &args("default", "/"), &["default/k"], (1, 0));
        let wrong = targets(entries(), &args("/", ""), None, &mut Report::new(Output::Text));
        assert_eq!(wrong.unwrap_err().code(), 2);
    }

    #[test]
    fn what_has_expired_is_left_out() {
        let at = |millis| Expiry::At(UnixMillis::from_millis(millis));
        let entries = vec![kept(1, None, "past", at(1000)), kept(2, None, "later", at(1001))];
        check(entries.clone(), &args("default", ""), &["default/later"], (0, 1));
        let mut report = Report::new(Output::Text);
        let unknown = targets(entries, &args("default", ""), None, &mut report).unwrap();
        assert_eq!((unknown.len(), report.expired), (2, 0), "without a clock nothing has expired");
    }

    #[test]
    fn of_two_places_that_are_one_here_the_later_write_holds() {
        let never = Expiry::Never;
        let entries = vec![
            kept(1, None, "k", never),
            kept(2, Some("default"), "k", never),
            kept(3, Some("default"), "other", never),
            kept(4, Some("a"), "k", never),
            kept(5, None, "other", never),
        ];
        check(entries, &args("default", ""), &["default/k", "a/k", "default/other"], (2, 0));
    }
}
